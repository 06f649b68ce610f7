"""Read a compiled program's text: its instructions, and how often each of them runs.

The text is what `compiled.as_text()` gives: computations, each a block of lines `%name = shape opcode(...)`,
of which fusions, loops and conditionals call others.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-$]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|body|condition|to_apply|called_computations)=\{?%?([\w.\-$]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
# What hands its first operand on, perhaps rearranged.
_TRANSPARENT = {"bitcast", "copy", "transpose", "reshape", "convert", "reverse", "copy-done", "copy-start"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
      name: unique in the program.
      results: dtype and shape of each.
      opcode: "convolution", "fusion", "custom-call", ....
      operands: names.
      attributes: the rest of the line.
    """

    name: str
    results: tuple[tuple[str, tuple[int, ...]], ...]
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    @property
    def dtype(self) -> str:
        """Of its first result; empty if there is none."""
        return self.results[0][0] if self.results else ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its first result."""
        return self.results[0][1] if self.results else ()

    @property
    def elements(self) -> int:
        """Of its result."""
        return math.prod(self.shape)

    @property
    def called(self) -> list[str]:
        """Computations that it runs."""
        branches = [name for group in _BRANCHES.findall(self.attributes) for name in ints_or_names(group)]
        return [*_CALLED.findall(self.attributes), *branches]

    @property
    def trips(self) -> int:
        """How often it runs what it calls; 1 where a loop's count is not known."""
        found = _TRIPS.search(self.attributes) if self.opcode == "while" else None
        return int(found[1]) if found else 1

    def attribute(self, name: str) -> str:
        """The text of `name=...` or `name={...}`; empty if there is none."""
        found = re.search(rf"\b{name}=(?:\{{([^}}]*)\}}|([^,\s]+))", self.attributes)
        return (found[1] or found[2] or "") if found else ""


def ints_or_names(text: str) -> list[str]:
    """The words of a comma-separated list, without their percent signs."""
    return re.findall(r"[\w.\-$]+", text)


def ints(text: str) -> tuple[int, ...]:
    """All integers in a text."""
    return tuple(map(int, re.findall(r"-?\d+", text)))


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
      computations: each computation's instructions, by name.
      entry: the name of the one that runs first.

    Example:
      >>> program = parse('''
      ... ENTRY %main (x: f32[2,3]) -> f32[2,3] {
      ...   %x = f32[2,3]{1,0} parameter(0)
      ...   ROOT %y = f32[2,3]{1,0} add(%x, %x), metadata={op_name="y"}
      ... }''')
      >>> [(i.opcode, i.shape, i.operands) for i, _ in program.instructions()]
      [('parameter', (2, 3), ()), ('add', (2, 3), ('x', 'x'))]
    """

    computations: dict[str, tuple[Instruction, ...]]
    entry: str

    @functools.cached_property
    def by_name(self) -> dict[str, Instruction]:
        """All instructions."""
        return {i.name: i for body in self.computations.values() for i in body}

    @functools.cached_property
    def runs(self) -> dict[str, int]:
        """How often each computation runs; every branch of a conditional counts as taken."""
        found = dict.fromkeys(self.computations, 0)

        def add(name: str, times: int) -> None:
            if name in found:
                found[name] += times
                for i in self.computations[name]:
                    for callee in i.called:
                        add(callee, times * i.trips)

        add(self.entry, 1)
        return found

    def instructions(self) -> Iterator[tuple[Instruction, int]]:
        """Those that run, with how often."""
        for name, body in self.computations.items():
            if times := self.runs[name]:
                yield from ((i, times) for i in body)

    def shape(self, name: str) -> tuple[int, ...]:
        """An instruction's result."""
        found = self.by_name.get(name)
        return found.shape if found else ()

    def stuffed(self, name: str) -> bool:
        """Whether the array comes from a pad that puts zeros between elements."""
        found = self.by_name.get(name)
        if found is None:
            return False
        if found.opcode == "fusion":
            return any(_interior(i) for c in found.called for i in self.computations.get(c, ()))
        if _interior(found):
            return True
        return found.opcode in _TRANSPARENT and any(map(self.stuffed, found.operands[:1]))


def _interior(instruction: Instruction) -> bool:
    if instruction.opcode != "pad":
        return False
    return any(len(n := axis.split("_")) == 3 and int(n[2]) > 0 for axis in _axes(instruction))


def _axes(pad: Instruction) -> list[str]:
    return pad.attribute("padding").split("x")


def parse(text: str) -> Program:
    """Reads a program.

    Raises:
      ValueError: if the text has no entry computation.
    """
    computations: dict[str, tuple[Instruction, ...]] = {}
    body: list[Instruction] = []
    entry = name = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name, body = header[2], []
            entry = name if header[1] else entry
        elif line.startswith("}") and name:
            computations[name], name = tuple(body), ""
        elif name and (found := _INSTRUCTION.match(line)):
            body.append(_instruction(*found.groups()))
    if not entry:
        raise ValueError("the text has no line `ENTRY ... {`; pass what `compiled.as_text()` returns.")
    return Program(computations, entry)


def _instruction(name: str, result: str, opcode: str, rest: str) -> Instruction:
    results = tuple((dtype, ints(sizes)) for dtype, sizes in _ARRAY.findall(result))
    end = _closing(rest)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[:end]))
    return Instruction(name, results, opcode, operands, rest[end + 1 :])


def _closing(text: str) -> int:
    """Where the parenthesis that is open at the start closes."""
    depth = 1
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return i
    return len(text)


COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Collective:
    """An exchange between devices.

    Attributes:
      kind: "all-reduce", "all-gather", ....
      shapes: of its results, on each device.
      bytes: of all results, on each device.
      times: how often it runs.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    times: int


def collectives(program: Program) -> tuple[Collective, ...]:
    """Those that run.

    One that is started and awaited in two instructions is read off the second: the first one's results hold
    its operands too. A TPU's compiler fuses one with computations that it goes on beside, and repeats it in
    each of them: there a channel is one exchange. Elsewhere all those of a `shard_map` are of one channel.
    """
    found: list[Collective] = []
    channels: set[str] = set()
    fused = {c for i in program.by_name.values() if i.opcode == "fusion" for c in i.called}
    inside = {i.name for c in fused for i in program.computations.get(c, ())}
    for i, times in program.instructions():
        kind = i.opcode.removesuffix("-done")
        channel = i.attribute("channel_id") if i.name in inside else ""
        if kind in COLLECTIVES and channel not in channels:
            channels |= {channel} - {""}
            size = sum(_width(dtype) * math.prod(shape) for dtype, shape in i.results)
            found.append(Collective(kind, tuple(shape for _, shape in i.results), size, times))
    return tuple(found)


def _width(dtype: str) -> int:
    """Bytes of an element; one that is smaller takes one."""
    bits = re.search(r"\d+", dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1


def cycles(program: Program) -> int | None:
    """The sum of a TPU compiler's estimates, in cycles; None where it wrote none."""
    found = [times * n for i, times in program.instructions() for n in _estimates(i.attributes)]
    return sum(found) if found else None


def _estimates(attributes: str) -> Iterable[int]:
    return map(int, re.findall(r'"estimated_cycles":"(\d+)"', attributes))
