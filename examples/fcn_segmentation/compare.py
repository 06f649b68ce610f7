"""Two networks on the same pictures: over all pixels, and ever nearer to the boundaries."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ..common.confusion import Metrics, by_class
from .evaluate import Scores
from .trained import Trained


def names(first: Trained, second: Trained) -> tuple[str, str]:
    """What tells two networks apart: their kind if that does, else their runs, else their steps.

    Raises:
        ValueError: they are one.
    """
    for of in (_kind, _run, _step, _place):
        if of(first) != of(second):
            return of(first), of(second)
    raise ValueError(f"both are {_place(first)}: name two runs, or two steps in checkpoints/ of one")


def _kind(trained: Trained) -> str:
    return trained.network.model


def _run(trained: Trained) -> str:
    return trained.run.resolve().name


def _step(trained: Trained) -> str:
    return f"step {trained.step}"


def _place(trained: Trained) -> str:
    return str(trained.folder.resolve())


def table(scores: Mapping[str, Scores], *, title: str) -> Table:
    """Mean IoU, a column for each network and a last one with what the first is better by."""
    result = Table("mean IoU of", title=title)
    for name in (*scores, "difference"):
        result.add_column(name, justify="right")
    first, second = scores.values()
    rows = [("all pixels", first.whole.mean_iou, second.whole.mean_iou)] + [
        (f"pixels within {width} of a boundary", found.mean_iou, second.bands[width].mean_iou)
        for width, found in first.bands.items()
    ]
    for what, one, other in rows:
        result.add_row(what, f"{one:.4f}", f"{other:.4f}", f"{one - other:+.4f}")
    return result


def to_json(scores: Mapping[str, Scores], classes: tuple[str, ...]) -> dict[str, Any]:
    def numbers(metrics: Metrics) -> dict[str, Any]:
        return {"miou": metrics.mean_iou, "iou": by_class(metrics.iou, classes)}

    return {
        name: {
            "all": numbers(found.whole),
            "boundary": {str(width): numbers(band) for width, band in found.bands.items()},
        }
        for name, found in scores.items()
    }
