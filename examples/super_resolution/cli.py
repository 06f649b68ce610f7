"""The command line: each command is a few lines over the other modules."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import rich
import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from . import data as photographs
from . import evaluate as evaluation
from . import figure, history
from . import train as training
from . import upscale as upscaling
from .progress import Display
from .train import TrainConfig

_PROGRAM = "python -m examples.super_resolution"
_DISPLAY = Display()

_Checkpoint = Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
_Folder = Annotated[Path | None, arg(metavar="DIR")]


def demo(*, out: Path = Path("runs/super_resolution_demo"), steps: int = TrainConfig.steps) -> None:
    """Train FSRCNN x3 on photographs that come with scikit-image; compare it with bicubic on four held out.

    Args:
        out: Folder for all results. An unfinished demo in it goes on, a finished one is shown.
        steps: Optimiser steps.
    """
    _train(TrainConfig(out=out, steps=steps))
    known = evaluation.Results.read(out / "results.json")
    if known is not None and known.step == steps:
        rich.print(known.table())
    else:
        evaluate(out)
    _DISPLAY.say(
        f"{out} has comparison.png, curve.png, results.json, metrics.jsonl, tensorboard, checkpoints"
    )


def train(config: TrainConfig) -> None:
    """Train a network, or go on with the unfinished run in --out."""
    _train(config)
    _DISPLAY.say(f"trained: 'evaluate {config.out}' measures it, 'upscale {config.out} IN OUT' uses it")


def _train(config: TrainConfig) -> None:
    training.train(config, _DISPLAY)
    records = history.read(config.out / "metrics.jsonl")
    figure.curve(config.out / "curve.png", records, title=str(config.model))


def evaluate(
    checkpoint: _Checkpoint, *, data: _Folder = None, out: _Folder = None, pictures: int = 2
) -> None:
    """Measure PSNR and SSIM on Y against bicubic: a table, results.json and comparison.png.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        data: Folder of photographs, all of which are used. Without it: those the run held out.
        out: Folder for the results. Without it: the run's, or evaluation_NAME in it for --data.
        pictures: How many photographs comparison.png shows, the first ones.
    """
    network = upscaling.load(checkpoint)
    settings = photographs.DataConfig(**network.config["data"])
    paths = photographs.list_folder(data) if data else photographs.find(settings)[1]
    reading = {"scale": network.model.scale, "halve_jpeg": settings.halve_jpeg}
    photos = [photographs.load_photo(path, minimum=8, **reading) for path in _DISPLAY.track("reading")(paths)]
    enlarger = upscaling.Enlarger(network.model)
    results = evaluation.Results(
        title=f"{network.model} after step {network.step}",
        step=network.step,
        scores=evaluation.evaluate(photos, enlarger, network.params, track=_DISPLAY.track("evaluating")),
    )
    run = network.folder.parent.parent
    out = out or (run / f"evaluation_{data.resolve().name}" if data else run)
    out.mkdir(parents=True, exist_ok=True)
    results.write(out / "results.json")
    shown = [photographs.read_pixels(path, **reading) for path in paths[:pictures]]
    figure.comparison(out / "comparison.png", shown, results.scores[: len(shown)], enlarger, network.params)
    rich.print(results.table())


def upscale(
    checkpoint: _Checkpoint,
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
_STYLE = (OmitArgPrefixes,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 2 for what the user can mend, which is said in one line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax says there what it also raises
    try:
        if arguments in (["-h"], ["--help"]):
            _help()
        else:
            tyro.extras.subcommand_cli_from_dict(_COMMANDS, args=arguments, prog=_PROGRAM, config=_STYLE)
    except (
        BrokenPipeError
    ):  # the reader, such as `head`, has seen enough; Python's documentation has the remedy
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _help() -> None:
    """Every command's options, so that one page shows all there is."""
    print(f"usage: {_PROGRAM} {{{','.join(_COMMANDS)}}} [options]\n")
    for name, command in _COMMANDS.items():
        try:
            tyro.cli(command, args=["--help"], prog=f"{_PROGRAM} {name}", config=_STYLE)
        except SystemExit:  # which is how help ends
            print()
