"""The words after `jaxconv see`, and what they do."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOTE = "see.txt"  # in a run's folder: which function makes a Subject of it, as MODULE:FUNCTION

Load = Callable[[str], Callable[..., Any]]


def add_to(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to argparse's subparsers, and returns its own."""
    see = commands.add_parser(
        "see",
        help="a sheet of pictures: what a network sees in an image",
        description="Draws what a network makes of an image: saliency, guided backpropagation, deconvnet, "
        "integrated gradients, Grad-CAM, kernels, maximising inputs, feature maps, patches of a data set. "
        f"CHECKPOINT is the folder of a run whose {NOTE} names a function MODULE:FUNCTION, or such a "
        "function itself, or one in a file; it gets the image's path, and the run's where there is one, and "
        "returns a jaxconv.explain.see.Subject.",
        epilog="examples: jaxconv see runs/fashion_mnist 7     "
        "jaxconv see network.py:subject cat.png --checkpoint weights.npz",
    )
    add = see.add_argument
    add("network", metavar="CHECKPOINT", help="a run's folder, FILE.py:FUNCTION or MODULE:FUNCTION")
    add("image", type=Path, metavar="IMAGE", help="a file, or what else the function takes")
    add("--checkpoint", type=Path, metavar="RUN", help="for the function, where it is named")
    add("--target", metavar="CLASS", help="name or number; by default the answer")
    add("--steps", type=int, default=64, help="of integrated gradients and maximisation; 64 by default")
    add("--out", type=Path, metavar="PNG", help="else IMAGE_see.png")
    return see


def see(args: argparse.Namespace, load: Load) -> str:
    """Writes the sheet.

    Args:
      args: as parsed.
      load: gives the function that FILE.py:FUNCTION names.

    Returns:
      What to print.

    Raises:
      ValueError: if there is no such function, or it gives no subject.
    """
    from .sheet import Subject, sheet

    name, checkpoint = args.network, args.checkpoint
    if Path(name).is_dir():
        if checkpoint is not None:
            raise ValueError(f"{name} is a run itself; leave out --checkpoint.")
        name, checkpoint = _noted(Path(name)), Path(name)
    function = load(name) if Path(name.rpartition(":")[0]).suffix == ".py" else _imported(name)
    subject = function(args.image, *([] if checkpoint is None else [checkpoint]))
    if not isinstance(subject, Subject):
        raise ValueError(
            f"{name} gave {type(subject).__name__}; it has to return a jaxconv.explain.see.Subject."
        )
    out = args.out or args.image.with_name(f"{args.image.stem}_see.png")
    target = None if args.target is None else _class(args.target, [*subject.classes])
    asked = sheet(subject, out, target=target, steps=args.steps)
    return f"asked about {asked}\n{out}"


def _noted(run: Path) -> str:
    """What the note of a run says; a step's folder is in that of its run."""
    notes = [folder / NOTE for folder in (run, *run.absolute().parents[:2])]
    found = next((note for note in notes if note.is_file()), None)
    if found is None:
        raise ValueError(
            f"{run} has no {NOTE} that names a function; name it: jaxconv see MODULE:FUNCTION IMAGE "
            f"--checkpoint {run}"
        )
    return found.read_text().strip()


def _imported(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(":")
    if not module:
        raise ValueError(f"{name!r} is no folder and names no function; write FILE.py:FUNCTION.")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` would
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise ValueError(f"{module} cannot be imported from here: {error}") from error
    if not callable(found):
        raise ValueError(f"{module} has no function {function}.")
    return found


def _class(word: str, classes: list[str]) -> int:
    if word in classes:
        return classes.index(word)
    if not word.isdigit():
        raise ValueError(f"--target {word!r} is no number and none of {', '.join(classes) or 'no names'}.")
    return int(word)
