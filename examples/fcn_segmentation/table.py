"""Scores as a table for the terminal."""

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from ..common.confusion import Metrics
from .metrics import summary


def per_class(metrics: Metrics, classes: Sequence[str], *, title: str) -> Table:
    """IoU, accuracy, precision, Dice and share of the true pixels of each class, and their means."""
    table = Table("class", title=title, caption=caption(metrics))
    for column in ("IoU", "accuracy", "precision", "Dice", "pixels"):
        table.add_column(column, justify="right")
    columns = metrics.iou, metrics.recall, metrics.precision, metrics.dice
    share = metrics.truth / max(1, metrics.truth.sum())
    for number, name in enumerate(classes):
        values = [_percent(column[number]) for column in columns]
        table.add_row(name, *values, _percent(share[number]), end_section=number == len(classes) - 1)
    table.add_row("mean", *(_percent(float(np.nanmean(column))) for column in columns), "")
    return table


def caption(metrics: Metrics) -> str:
    scores = summary(metrics)
    return (
        f"all pixels: {_percent(scores['pixel_accuracy'])} % right, fwIoU {_percent(scores['fwiou'])} %; in %"
    )


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"
