"""What a run's folder says the run is."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax

from .config import TrainConfig
from .files import write_atomically
from .task import Task


def describe(task: Task, config: TrainConfig) -> dict[str, Any]:
    """What decides the result of a run, as JSON."""
    return json.loads(json.dumps({"task": task.describe(), "training": config.result()}))


def claim(folder: Path, ours: dict[str, Any]) -> None:
    """Writes down what this run is.

    Raises:
        ValueError: the folder holds a run with other settings or data.
    """
    path = folder / "run.json"
    if not path.is_file():
        if jax.process_index() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(ours, indent=1) + "\n")
        return
    try:
        theirs = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not readable ({error}): choose another --out, or remove that folder"
        ) from error
    if theirs != ours:
        there, here = _settings(theirs), _settings(ours)
        differing = [
            f"{name} was {there.get(name)}, is {here.get(name)}"
            for name in {**there, **here}
            if here.get(name) != there.get(name)
        ]
        raise ValueError(
            f"{folder} holds another run ({'; '.join(differing) or 'its data were others'}):"
            " choose another --out, or remove that folder"
        )


def for_results(step: Path, *, data: str | Path | None, out: Path | None) -> Path:
    """Where measurements of a step go: `out`, else the folder of its run, or one in that for other data.

    Args:
        step: its folder, in checkpoints/ of the run.
        data: what is measured instead of the run's own.
        out: what the user wants.
    """
    run = step.parent.parent
    folder = out or (run / f"evaluation_{Path(data).resolve().name}" if data else run)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def name_subject(folder: Path, task: Task) -> None:
    """Writes down which function `jaxconv see FOLDER IMAGE` calls, where the example has one."""
    module = f"{type(task).__module__.rpartition('.')[0]}.see"
    if module.startswith("examples.") and importlib.util.find_spec(module):
        write_atomically(folder / "see.txt", f"{module}:subject\n")


def _settings(description: dict[str, Any]) -> dict[str, Any]:
    """All but the long ones, such as lists of files and fingerprints, which say nothing to a reader."""
    flat = {}
    for name, value in description.items():
        if isinstance(value, dict):
            flat |= _settings(value)
        elif len(str(value)) <= 60:
            flat[name] = value
    return flat
