"""Options by name, in a YAML file: the names and the meaning of the command line's, and one level deep.

learning_rate: 1e-3
features: [64, 32]
residual: false
"""

import difflib
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from .files import write_atomically


def write(path: Path, *configs: Any) -> None:
    """All settings of some dataclasses, and of those in them, as a file for --config."""
    write_atomically(path, yaml.safe_dump(_flat(configs), sort_keys=False, default_flow_style=None))


def _flat(configs: Iterable[Any]) -> dict[str, Any]:
    values = {}
    for config in configs:
        for field in fields(config):
            value = getattr(config, field.name)
            values |= _flat([value]) if is_dataclass(value) else {field.name: _plain(value)}
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def expand(command: Callable, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with those in its --config FILE in the place of that; the command line wins.

    Raises:
        ValueError: the file cannot be read, or an option in it is none of the command's.
    """
    files, rest = _take_config(arguments)
    if not files:
        return rest
    names = _names(command)
    given = {argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in rest}
    values = {}
    for file in files:
        values |= _read(Path(file), names)
    return [
        *rest,
        *(
            word
            for name, value in values.items()
            if not given & {name, f"no_{name}"}
            for word in _words(name, value)
        ),
    ]


def _take_config(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    files, rest, words = [], [], iter(arguments)
    for word in words:
        if word == "--config":
            files.append(next(words, ""))
        elif word.startswith("--config="):
            files.append(word.partition("=")[2])
        else:
            rest.append(word)
    return files, rest


def _read(path: Path, names: Sequence[str]) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}: --config takes a YAML file of options")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not a list of options: write NAME: VALUE, one a line")
    for name, value in values.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0)
            raise ValueError(f"{path}: there is no option {name}; the nearest one is {near[0]}")
        if isinstance(value, dict):
            raise ValueError(f"{path}: {name} has options below it; write them beside it, one a line")
    return values


def _names(command: Callable) -> list[str]:
    """Of all options of a command: its own, and those of its dataclasses and of the dataclasses in them."""
    hints = typing.get_type_hints(command)
    return [
        name
        for parameter in inspect.signature(command).parameters
        for name in (_fields(hints[parameter]) if is_dataclass(hints[parameter]) else [parameter])
    ]


def _fields(config: Any) -> list[str]:
    hints = typing.get_type_hints(config)
    return [
        name
        for field in fields(config)
        for name in (_fields(hints[field.name]) if is_dataclass(hints[field.name]) else [field.name])
    ]


def _words(name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}", *map(str, value)] if isinstance(value, list) else [f"--{option}", str(value)]
