"""What a run's folder says the run is."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .checkpoint import write_atomically
from .data import Photo, fingerprint

# They decide where and how often a run is saved, not what it computes.
_NO_PART_OF_THE_RESULT = ("out", "checkpoint_every", "keep")


def describe(config: Any) -> dict[str, Any]:
    """What decides the result of a run, as JSON, from its `TrainConfig`."""
    values = {name: value for name, value in asdict(config).items() if name not in _NO_PART_OF_THE_RESULT}
    return json.loads(json.dumps(values))


def claim(folder: Path, config: Any, training: Sequence[Photo], held_out: Sequence[Photo]) -> None:
    """Writes down what this run is.

    Raises:
        ValueError: the folder holds a run with other settings or photographs.
    """
    ours = {
        "config": describe(config),
        "training": [photo.name for photo in training],
        "held_out": [photo.name for photo in held_out],
        "fingerprint": fingerprint([*training, *held_out]),
    }
    path = folder / "run.json"
    if not path.is_file():
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
        there, here = _flat(theirs["config"]), _flat(ours["config"])
        differing = [
            f"{name} was {there.get(name)}, is {here[name]}" for name in here if here[name] != there.get(name)
        ]
        raise ValueError(
            f"{folder} holds another run ({'; '.join(differing) or 'its photographs were others'}):"
            " choose another --out, or remove that folder"
        )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    nested = [value for value in config.values() if isinstance(value, dict)]
    return {
        name: value
        for part in (config, *nested)
        for name, value in part.items()
        if not isinstance(value, dict)
    }
