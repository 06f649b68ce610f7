"""Files of cases, each a dataclass with arrays, in which the results of another library are recorded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write(path: Path, cases: Mapping[str, tuple[Any, Mapping[str, np.ndarray]]]) -> None:
    """For each name its case's fields as JSON, and its arrays."""
    content: dict[str, np.ndarray] = {}
    for name, (case, arrays) in cases.items():
        content[f"{name}/case"] = np.array(json.dumps(dataclasses.asdict(case)))
        content |= {f"{name}/{key}": array for key, array in arrays.items()}
    np.savez_compressed(path, allow_pickle=False, **content)
    print(f"{path}: {len(cases)} cases, {path.stat().st_size / 1000:.0f} kB")


def read(path: Path, name: str, kind: type) -> tuple[Any, dict[str, np.ndarray]]:
    """The case of this name in a file, a dataclass of that kind, and all its arrays."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key.removeprefix(f"{name}/"): file[key] for key in file.files if key.startswith(f"{name}/")}
    fields = json.loads(str(arrays.pop("case")))
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}), arrays
