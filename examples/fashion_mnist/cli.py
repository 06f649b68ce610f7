"""The command line: each command is a few lines over the other modules."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import rich
from tyro.conf import Positional, arg

from ..common import figures, loop
from ..common.cli import Checkpoint, Folder, run
from ..common.config import TrainConfig
from ..common.files import write_atomically
from ..common.progress import Display
from ..common.run_folder import for_results
from . import figure
from .data import DataConfig
from .evaluate import Results, predict
from .train import TRAINING, Classification
from .trained import load, maps

_DISPLAY = Display()

_Number = Annotated[Positional[int], arg(metavar="NUMBER")]


def demo(
    *, data: Folder = None, out: Path = Path("runs/fashion_mnist_demo"), steps: int = TRAINING.steps
) -> None:
    """Train the small CNN on Fashion-MNIST, measure it on the test images and draw what it learned.

    Args:
        data: Folder of the four IDX files. Without it: Debian's Fashion-MNIST, else scikit-learn's digits.
        out: Folder for all results. An unfinished demo in it goes on.
        steps: Optimiser steps.
    """
    _train(Classification(data=DataConfig(data=data)), replace(TRAINING, out=out, steps=steps))
    evaluate(out)
    _DISPLAY.say(
        f"{out} has confusion.png, mistakes.png, kernels.png, features_0.png, results.json, metrics.jsonl,"
        " tensorboard, checkpoints"
    )


def train(task: Classification, config: TrainConfig = TRAINING) -> None:
    """Train the network, or go on with the unfinished run in --out."""
    _train(task, config)
    _DISPLAY.say(f"trained: 'evaluate {config.out}' measures it, 'show {config.out} 7' looks into it")


def _train(task: Classification, config: TrainConfig) -> None:
    _DISPLAY.say(str(task.images))
    loop.train(task, config, _DISPLAY)


def evaluate(checkpoint: Checkpoint, *, data: Folder = None, out: Folder = None) -> None:
    """Measure accuracy on the test images: a table, results.json and four pictures.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        data: Folder of the data set. Without it: that of the training.
        out: Folder for the results. Without it: the run's, or evaluation_NAME in it for --data.
    """
    trained = load(checkpoint)
    found = trained.load_images(data)
    logits = predict(trained.model, found.test.images, track=_DISPLAY.track("evaluating"))
    title = f"test images of {found.name} after step {trained.step}"
    results = Results.of(title, trained.step, trained.classes, found.test.labels, logits)
    out = for_results(trained.folder, data=data, out=out)
    write_atomically(out / "results.json", json.dumps(results.to_json(), indent=1) + "\n")
    figures.confusion_matrix(
        out / "confusion.png",
        results.metrics,
        trained.classes,
        title=f"{title}: {100 * results.metrics.accuracy:.2f} % are right",
        what="images",
    )
    figure.mistakes(out / "mistakes.png", found.test, logits, trained.classes)
    figure.kernels(out / "kernels.png", np.asarray(trained.model.first.conv.kernel[...]))
    show(checkpoint, 0, data=data, out=out)
    rich.print(results.table())


def show(checkpoint: Checkpoint, image: _Number, *, data: Folder = None, out: Folder = None) -> None:
    """Draw what the layers see in one test image, and the answer, as features_NUMBER.png.

    Args:
        checkpoint: Folder of a run (its newest step), or of one step of it.
        image: Which one, by the number that mistakes.png gives.
        data: Folder of the data set. Without it: that of the training.
        out: Folder for the picture. Without it: the run's.
    """
    trained = load(checkpoint)
    test = trained.load_images(data).test
    if not 0 <= image < len(test.labels):
        raise ValueError(f"there is no test image {image}: they go from 0 to {len(test.labels) - 1}")
    path = (out or trained.run) / f"features_{image}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels, label = test.images[image], int(test.labels[image])
    (logits,) = predict(trained.model, pixels[None])
    figure.feature_maps(path, pixels, maps(trained.model, pixels), logits, trained.classes, truth=label)
    _DISPLAY.say(f"{path}: {trained.classes[int(logits.argmax())]}, label {trained.classes[label]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 2 for what the user can mend, which is said in one line."""
    commands = {"demo": demo, "train": train, "evaluate": evaluate, "show": show}
    return run(commands, "python -m examples.fashion_mnist", arguments)
