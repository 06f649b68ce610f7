"""The command line: each command is a few lines over the other modules."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import rich
from tyro.conf import Positional, arg

from ..common import history, loop
from ..common.cli import Checkpoint, Folder, run
from ..common.config import TrainConfig
from ..common.progress import Display
from ..common.run_folder import for_results
from . import data as photographs
from . import evaluate as evaluation
from . import figure
from . import upscale as upscaling
from .train import DEMO, Enlargement

_DISPLAY = Display()


def demo(*, out: Path = Path("runs/super_resolution_demo"), steps: int = DEMO.steps) -> None:
    """Train FSRCNN x3 on photographs that come with scikit-image; compare it with bicubic on four held out.

    Args:
        out: Folder for all results. An unfinished demo in it goes on, a finished one is shown.
        steps: Optimiser steps.
    """
    _train(Enlargement(), replace(DEMO, out=out, steps=steps))
    known = evaluation.Results.read(out / "results.json")
    if known is not None and known.step == steps:
        rich.print(known.table())
    else:
        evaluate(out)
    _DISPLAY.say(
        f"{out} has comparison.png, curve.png, results.json, metrics.jsonl, tensorboard, checkpoints"
    )


def train(task: Enlargement, config: TrainConfig = DEMO) -> None:
    """Train a network, or go on with the unfinished run in --out."""
    _train(task, config)
    _DISPLAY.say(f"trained: 'evaluate {config.out}' measures it, 'upscale {config.out} IN OUT' uses it")


def _train(task: Enlargement, config: TrainConfig) -> None:
    loop.train(task, config, _DISPLAY)
    records = history.read(config.out / "metrics.jsonl")
    figure.curve(config.out / "curve.png", records, title=str(task.network))


def evaluate(checkpoint: Checkpoint, *, data: Folder = None, out: Folder = None, pictures: int = 2) -> None:
    """Measure PSNR and SSIM on Y against bicubic: a table, results.json and comparison.png.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        data: Folder of photographs, all of which are used. Without it: those the run held out.
        out: Folder for the results. Without it: the run's, or evaluation_NAME in it for --data.
        pictures: How many photographs comparison.png shows, the first ones.
    """
    network = upscaling.load(checkpoint)
    settings = photographs.DataConfig(**network.task["data"])
    paths = photographs.list_folder(data) if data else photographs.find(settings)[1]
    reading = {"scale": network.model.config.scale, "halve_jpeg": settings.halve_jpeg}
    photos = [photographs.load_photo(path, minimum=8, **reading) for path in _DISPLAY.track("reading")(paths)]
    enlarger = upscaling.Enlarger(network.model)
    results = evaluation.Results(
        title=f"{network.model.config} after step {network.step}",
        step=network.step,
        scores=evaluation.evaluate(photos, enlarger, track=_DISPLAY.track("evaluating")),
    )
    out = for_results(network.folder, data=data, out=out)
    results.write(out / "results.json")
    shown = [photographs.read_pixels(path, **reading) for path in paths[:pictures]]
    figure.comparison(out / "comparison.png", shown, results.scores[: len(shown)], enlarger)
    rich.print(results.table())


def upscale(
    checkpoint: Checkpoint,
    source: Annotated[Positional[Path], arg(metavar="IN")],
    target: Annotated[Positional[Path], arg(metavar="OUT")],
) -> None:
    """Enlarge any image file: luma by the network, colour and transparency by bicubic.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        source: The image to read: grey, colour, palette or 16-bit, with or without transparency.
        target: The image to write; its suffix says the format.
    """
    result = upscaling.upscale(checkpoint, source, target, track=_DISPLAY.track("enlarging"))
    height, width = result.pixels.shape[:2]
    _DISPLAY.say(f"{target}: {width}x{height}")


_COMMANDS = {"demo": demo, "train": train, "evaluate": evaluate, "upscale": upscale}


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_COMMANDS, "python -m examples.super_resolution", arguments)
