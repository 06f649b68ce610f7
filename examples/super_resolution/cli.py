"""The command line: each command is a few lines over the other modules."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from . import data, figure, history, upscale as upscaling
from .evaluate import Score, evaluate as score, table, write_results
from .progress import Display
from .train import TrainConfig, train as run_training

_DISPLAY = Display()


def demo(*, out: Path = Path("runs/super_resolution_demo"), steps: int = TrainConfig.steps) -> None:
    """Train FSRCNN x3 on photographs that come with scikit-image and compare it with bicubic on four held out.

    Args:
        out: Folder for pictures, metrics and checkpoints. An unfinished demo in it goes on, a finished one is shown.
        steps: Optimiser steps.
    """
    train(TrainConfig(out=out, steps=steps))
    results = out / "results.json"
    if results.is_file() and (known := json.loads(results.read_text()))["step"] == steps:
        _DISPLAY.console.print(table([Score(**row) for row in known["scores"]], title=known["title"]))
    else:
        evaluate(out)
    _DISPLAY.say(
        f"in {out}: comparison.png, curve.png, results.json, metrics.jsonl, tensorboard/, checkpoints/"
    )


def train(config: TrainConfig) -> None:
    """Train a network, or go on with the unfinished run in --out."""
    run = run_training(config, _DISPLAY)
    title = f"{config.model.model.upper()} x{config.model.scale}"
    figure.curve(run / "curve.png", history.read(run / "metrics.jsonl"), title=title)
    _DISPLAY.say(f"trained: 'evaluate {run}' measures it, 'upscale {run} IN OUT' uses it")


def evaluate(
    checkpoint: Positional[Path],
    *,
    photographs: Path | None = None,
    out: Path | None = None,
    pictures: int = 2,
) -> None:
    """Measure PSNR and SSIM on Y against bicubic: a table, results.json and comparison.png.

    Args:
        checkpoint: Folder of a run (its newest checkpoint), or of one step in a run's checkpoints/.
        photographs: Folder of photographs, all of which are used. Without it: those the run held out.
        out: Folder for the results. Without it: the run's, or evaluation_NAME in it for other photographs.
        pictures: How many photographs comparison.png shows, the first ones.
    """
    network = upscaling.load(checkpoint)
    settings = data.DataConfig(**network.config["data"])
    paths = data.list_folder(photographs) if photographs else data.find(settings)[1]
    scale, halve = network.model.scale, settings.halve_jpeg
    photos = [
        data.load_photo(p, scale=scale, minimum=8, halve_jpeg=halve) for p in _DISPLAY.track("reading")(paths)
    ]
    enlarger = upscaling.Enlarger(network.model)
    scores = score(photos, enlarger, network.params, track=_DISPLAY.track("evaluating"))
    run = network.folder.parent.parent
    out = out or (run / f"evaluation_{photographs.resolve().name}" if photographs else run)
    out.mkdir(parents=True, exist_ok=True)
    title = f"{network.model.model.upper()} x{scale}, step {network.step}: Y, border {scale} left out"
    write_results(
        out / "results.json", scores, title=title, step=network.step, checkpoint=str(network.folder)
    )
    shown = [data.read_pixels(path, scale=scale, halve_jpeg=halve) for path in paths[:pictures]]
    figure.comparison(out / "comparison.png", shown, scores[: len(shown)], enlarger, network.params)
    _DISPLAY.console.print(table(scores, title=title))


def upscale(checkpoint: Positional[Path], source: Positional[Path], target: Positional[Path]) -> None:
    """Enlarge any image file: luma by the network, colour and transparency by bicubic.

    Args:
        checkpoint: Folder of a run (its newest checkpoint), or of one step in a run's checkpoints/.
        source: The image to read: grey, colour, palette or 16-bit, with or without transparency.
        target: The image to write; its suffix says the format.
    """
    result = upscaling.upscale(checkpoint, source, target, track=_DISPLAY.track("enlarging"))
    height, width = result.pixels.shape[:2]
    _DISPLAY.say(f"{target}: {width}x{height}")


COMMANDS = {"demo": demo, "train": train, "evaluate": evaluate, "upscale": upscale}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 2 for what the user can mend, which is said in one line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax reports there what is an exception, too
    try:
        if arguments in (["-h"], ["--help"]):
            return _help()
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, args=arguments, prog=_PROGRAM, config=(OmitArgPrefixes,)
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


_PROGRAM = "python -m examples.super_resolution"


def _help() -> int:
    """Every command's options, so that one page shows all there is."""
    print(f"usage: {_PROGRAM} {{{','.join(COMMANDS)}}} [options]\n")
    for name, command in COMMANDS.items():
        try:
            tyro.cli(command, args=["--help"], prog=f"{_PROGRAM} {name}", config=(OmitArgPrefixes,))
        except SystemExit:  # which is how help ends
            print()
    return 0
