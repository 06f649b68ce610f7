"""Measured times of algorithms, as a value: saved, loaded, merged, and made to decide by `with table:`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
from jax import lax

from ..geometry import ConvSpec, Slot
from ..lowerings import PLATFORMS, REGISTRY, Target
from .key import Key

_SCHEMA, _VERSION = "jaxconv tuning table", 1
_FIELDS = ("platform", "device_kind", "jaxlib")

# The active tables, innermost first. A user context is part of jit's cache key, so that a program that was
# compiled under one table is not run under another.
_ACTIVE: Any = jax.make_user_context(())  # pyright: ignore[reportUnknownMemberType]


class _Entered(threading.local):
    """This thread's contexts that `with table:` has to leave; a table, being a value, can't hold them."""

    def __init__(self) -> None:
        self.contexts: list[contextlib.AbstractContextManager[Any]] = []


_ENTERED = _Entered()


class Table:
    """Measured seconds of the algorithms of convolutions on one kind of device.

    Inside `with table:` the planner takes the fastest algorithm for each convolution that the table knows, in
    programs for the table's platform. It comes after `algorithm=` in the call and before everything else.
    Tables nest: what the innermost does not know, the next one decides. The context holds for the thread that
    entered it, and functions that were compiled before are compiled anew inside it (and found again outside).

    A table is a value: it is never changed, and tables of the same content are equal.

    Args:
      platform: "cpu", "cuda", "rocm" or "tpu".
      device_kind: the device's name for itself, `jax.devices()[0].device_kind`.
      jaxlib: version of the compiler that was measured.
      seconds: for each convolution, spelled as `Key` does, the seconds of each algorithm.

    Raises:
      ValueError: for an unknown platform, what is no key, or what is no positive time.

    Example:
      >>> key = "forward n1 g1 c2>4 8k3s1d1p1,1 float32 default"
      >>> table = Table("cpu", "cpu", "0.10.2", {key: {"direct": 3.4e-3, "im2col": 1.2e-3}})
      >>> print(table)
      1 convolution measured on cpu (cpu), jaxlib 0.10.2
        forward n1 g1 c2>4 8k3s1d1p1,1 float32 default: im2col 1.2 ms, direct 3.4 ms
      >>> from jaxconv.geometry import Axis, ConvSpec
      >>> from jaxconv.planner import plan
      >>> spec = ConvSpec(1, 2, 4, 1, (Axis(8, 3, lo=1, hi=1),))
      >>> plan(spec, platform="cpu").algorithm
      'direct'
      >>> with table:
      ...     plan(spec, platform="cpu").algorithm
      'im2col'
    """

    def __init__(
        self,
        platform: str,
        device_kind: str,
        jaxlib: str,
        seconds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        if platform not in PLATFORMS:
            raise ValueError(f"platform={platform!r} is not known; use one of {', '.join(PLATFORMS)}.")
        self.platform: str = platform
        self.device_kind: str = device_kind
        self.jaxlib: str = jaxlib
        self._seconds = {key: _checked(key, times) for key, times in (seconds or {}).items()}
        entries = frozenset((key, frozenset(times.items())) for key, times in self._seconds.items())
        self._value = (platform, device_kind, jaxlib, entries)

    @property
    def seconds(self) -> dict[str, dict[str, float]]:
        """For each key the seconds of each algorithm; a copy."""
        return {key: dict(times) for key, times in self._seconds.items()}

    def __len__(self) -> int:
        return len(self._seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"<Table: {str(self).splitlines()[0]}>"

    def __str__(self) -> str:
        """What was measured where, then each convolution's algorithms, the fastest first."""
        plural = "" if len(self) == 1 else "s"
        lines = [
            f"{len(self)} convolution{plural} measured on {self.platform} ({self.device_kind}), "
            f"jaxlib {self.jaxlib}"
        ]
        lines += [f"  {key}: {ranking(times)}" for key, times in self._seconds.items()]
        return "\n".join(lines)

    def lookup(self, slot: Slot, spec: ConvSpec, target: Target) -> dict[str, float] | None:
        """The measured seconds of each algorithm for one slot of a convolution with any padding.

        Args:
          slot: the array that is computed.
          spec: the convolution.
          target: what for; the table knows nothing about another platform than its own.

        Returns:
          Seconds by name, or None where this was not measured.
        """
        if target.platform != self.platform or isinstance(target.precision, lax.DotAlgorithm):
            return None  # there is no choice for the latter, and it has no spelling
        key = Key.of(slot, spec, target.dtype, target.precision)
        times = None if key is None else self._seconds.get(str(key))
        return None if times is None else dict(times)

    def best(self, slot: Slot, spec: ConvSpec, target: Target) -> str | None:
        """The fastest algorithm that exists and can compute the slot; arguments are those of `lookup`.

        Returns:
          Its name, or None where none was measured.
        """
        times = self.lookup(slot, spec, target) or {}
        able = [
            name
            for name in times
            if name in REGISTRY
            and REGISTRY[name].supports(slot, spec, target.dtype, target.precision) is None
        ]
        return min(able, key=lambda name: times[name], default=None)

    def merge(self, other: Table) -> Table:
        """A table of what either knows; also written `table | other`.

        Args:
          other: of the same kind of device and version of jaxlib.

        Returns:
          The union, with the smaller time of an algorithm that both have measured.

        Raises:
          ValueError: if the device or the version differs; the message says which.
        """
        for field in _FIELDS:
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise ValueError(
                    f"tables of different {field} do not merge: {mine!r} here, {theirs!r} there; times are "
                    "comparable on one kind of device with one compiler."
                )
        seconds = self.seconds
        for key, times in other._seconds.items():
            known = seconds.setdefault(key, {})
            for name, value in times.items():
                known[name] = min(value, known.get(name, math.inf))
        return Table(self.platform, self.device_kind, self.jaxlib, seconds)

    def __or__(self, other: Table) -> Table:
        return self.merge(other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON, all of it or nothing: a reader never sees half a file.

        Args:
          path: of the file; missing folders are made.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"schema": _SCHEMA, "version": _VERSION} | {field: getattr(self, field) for field in _FIELDS}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            temporary.write_text(json.dumps(head | {"seconds": self._seconds}, indent=1) + "\n")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Table:
        """Reads what `save` wrote.

        Args:
          path: of the file.

        Returns:
          The table.

        Raises:
          ValueError: if the file is damaged, or is something else, or of another version.
          FileNotFoundError: if there is none.
        """
        return cls.from_json(Path(path).read_bytes(), str(path))

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Table:
        """As `load`, from the file's content; `source` is what errors call it."""
        try:
            data: Any = json.loads(text)
        except ValueError as error:  # a UnicodeDecodeError is one too
            raise ValueError(f"{source} is no tuning table, or a damaged one: {error}") from None
        if not isinstance(data, dict) or data.get("schema") != _SCHEMA:  # pyright: ignore[reportUnknownMemberType]
            raise ValueError(f"{source} is JSON, but no tuning table: its schema is not {_SCHEMA!r}.")
        fields = cast("dict[str, Any]", data)
        if fields.get("version") != _VERSION:
            raise ValueError(
                f"{source} is a tuning table of version {fields.get('version')!r}; this release reads "
                f"version {_VERSION}. Measure again with jaxconv.tune."
            )
        head, seconds = {name: fields.get(name) for name in _FIELDS}, fields.get("seconds")
        if not (all(isinstance(value, str) for value in head.values()) and isinstance(seconds, dict)):
            raise ValueError(f"{source} is a damaged tuning table: a field is missing or of another type.")
        try:
            return cls(**cast("dict[str, str]", head), seconds=cast("dict[str, Any]", seconds))
        except ValueError as error:
            raise ValueError(f"{source} is a damaged tuning table: {error}") from None

    def __enter__(self) -> Table:
        context = _ACTIVE((self, *active()))
        context.__enter__()
        _ENTERED.contexts.append(context)
        return self

    def __exit__(self, *exception: Any) -> None:
        _ENTERED.contexts.pop().__exit__(*exception)


def active() -> tuple[Table, ...]:
    """The tables that this thread is inside of, innermost first."""
    return _ACTIVE.value


def duration(seconds: float) -> str:
    """Three digits in a readable unit.

    Example:
      >>> duration(0.00123456), duration(2.5), duration(42e-6)
      ('1.23 ms', '2.5 s', '42 µs')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def ranking(times: Mapping[str, float]) -> str:
    """The algorithms and their times, the fastest first.

    Example:
      >>> ranking({"direct": 3.4e-3, "im2col": 1.2e-3})
      'im2col 1.2 ms, direct 3.4 ms'
    """
    return ", ".join(f"{name} {duration(times[name])}" for name in sorted(times, key=lambda n: times[n]))


def _checked(key: str, times: Any) -> dict[str, float]:
    """A copy of one entry, found right.

    Raises:
      ValueError: if the key is none, or a time is not positive.
    """
    Key.parse(key)
    if not isinstance(times, Mapping):
        raise ValueError(f"the times of {key!r} are {times!r}; wanted seconds by algorithm.")
    checked: dict[str, float] = {}
    for name, value in times.items():  # pyright: ignore[reportUnknownVariableType]
        if not (isinstance(name, str) and type(value) in (int, float) and 0 < value < math.inf):  # pyright: ignore[reportUnknownArgumentType]
            raise ValueError(f"{key!r}: {name!r} takes {value!r}; wanted a positive number of seconds.")
        checked[name] = float(value)  # pyright: ignore[reportUnknownArgumentType]
    return checked
