"""Which table decides: the active ones, then the one that comes with the library for this kind of device."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple, cast

import jax
from jaxlib import version

from ..geometry import ConvSpec, Slot
from ..lowerings import Target
from .table import Table, active, duration


class Measured(NamedTuple):
    """A choice by measurement: the algorithm, the seconds of all that were measured, whose they are."""

    algorithm: str
    seconds: dict[str, float]
    source: str

    @property
    def reason(self) -> str:
        """The sentence of a plan.

        Example:
          >>> Measured("im2col", {"direct": 3.4e-3, "im2col": 1.2e-3}, "active table").reason
          'measured: 1.2 ms, direct 3.4 ms (active table)'
        """
        direct = self.seconds.get("direct")
        against = "" if direct is None or self.algorithm == "direct" else f", direct {duration(direct)}"
        return f"measured: {duration(self.seconds[self.algorithm])}{against} ({self.source})"


def measured(slot: Slot, spec: ConvSpec, target: Target) -> Measured | None:
    """The choice of the first table that has one for a slot on a target, or None."""
    for table, source in _tables(target.platform):
        name, seconds = table.best(slot, spec, target), table.lookup(slot, spec, target)
        if name is not None and seconds is not None:
            return Measured(name, seconds, source)
    return None


def _tables(platform: str) -> Iterator[tuple[Table, str]]:
    for table in active():
        yield table, "active table"
    if (table := shipped(platform)) is not None:
        yield table, "table of this device kind"


@functools.cache
def shipped(platform: str) -> Table | None:
    """The table that comes with the library for the device that this process has on a platform.

    It is read on the first call. A program that is exported for a platform of which there is no device here
    gets none: nothing says on which kind of device it will run.

    Args:
      platform: "cpu", "cuda", "rocm" or "tpu".

    Returns:
      The table of that kind of device, if there are several that of this version of jaxlib; or None.

    Raises:
      ValueError: if a file of the installation is damaged.
    """
    tables = [table for table in _read(_folder()) if table.platform == platform]
    if not tables:
        return None
    try:
        devices = cast("list[Any]", jax.devices(platform))  # pyright: ignore[reportUnknownMemberType]
    except RuntimeError:  # no such device here
        return None
    matching = [table for table in tables if table.device_kind == devices[0].device_kind]
    return max(matching, key=lambda table: table.jaxlib == version.__version__, default=None)


def _folder() -> Traversable:
    return importlib.resources.files(__package__ or "") / "tables"


def _read(folder: Traversable) -> tuple[Table, ...]:
    """All tables in a folder, by name; none where there is no folder."""
    if not folder.is_dir():
        return ()
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda f: f.name)
    return tuple(Table.from_json(file.read_bytes(), file.name) for file in files)
