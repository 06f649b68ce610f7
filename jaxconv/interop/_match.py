"""Which layer of a source is which of a model: by name where names agree, else by order within a shape.

Nothing is guessed where a guess could be wrong without showing. Names with numbers count only where both
sides have the same ones: `2` may be the second layer or the third. Layers of one kind and shape are matched
in their order only if there are as many on both sides, and if the layers between them, which can be told
apart, do not contradict.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ._convert import fits, misfit, same
from ._layers import Layer, natural

_SIDES = "the source", "the model"
Rename = Mapping[str, str | None] | Callable[[str], str | None]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A layer of the source, the model's that it becomes, read as which kind, and why."""

    source: Layer
    target: Layer
    kind: str
    how: str


@dataclasses.dataclass
class Matching:
    """What belongs together, `ordered` as it was made or not, and in sentences what does not."""

    pairs: list[Pair]
    problems: list[str]
    ordered: bool


def match(
    sources: Sequence[Layer],
    targets: Sequence[Layer],
    *,
    rename: Rename | None = None,
    ordered: tuple[bool, bool] = (True, True),
) -> Matching:
    """Matches layers one to one.

    Args:
      sources: the layers to read.
      targets: the layers to write.
      rename: the source's paths as the model's, or None for a layer that is not wanted.
      ordered: of either list, whether it is in the order in which the layers were made.

    Returns:
      The pairs, in the order of a list that has one, and what is wrong.
    """
    sources, targets = (
        list(side) if has_order else sorted(side, key=lambda layer: natural(layer.path))
        for side, has_order in zip((sources, targets), ordered, strict=True)
    )
    work = _Work(sources, targets, ordered)
    names = work.renamed(rename)
    work.by_name(names)
    work.by_order()
    work.leftovers()
    by_source = ordered == (True, False)
    work.pairs.sort(key=lambda pair: work.at[id(pair.source if by_source else pair.target)])
    return Matching(work.pairs, work.problems, any(ordered))


class _Work:
    """Two shrinking lists, and what became of the rest."""

    def __init__(self, sources: list[Layer], targets: list[Layer], ordered: tuple[bool, bool]):
        self.sources, self.targets, self.ordered = list(sources), list(targets), ordered
        self.at = {id(layer): i for side in (sources, targets) for i, layer in enumerate(side)}
        self.pairs: list[Pair] = []
        self.problems: list[str] = []

    def renamed(self, rename: Rename | None) -> dict[int, str]:
        """The name that each source goes by; drops those that are not wanted."""
        if isinstance(rename, Mapping):
            paths = {layer.path for layer in self.sources}
            if unknown := [key for key in rename if key not in paths]:
                near = [_nearest(key, paths) for key in unknown]
                raise ValueError(f"rename={unknown} are no layers of the source; it has {near}, for example.")
            new = {layer.path: rename.get(layer.path, layer.path) for layer in self.sources}
        else:
            new = {layer.path: rename(layer.path) if rename else layer.path for layer in self.sources}
        self.sources = [layer for layer in self.sources if new[layer.path] is not None]
        by_path = {layer.path: layer for layer in self.targets}
        for layer in list(self.sources):
            name = new[layer.path]
            if name == layer.path:
                continue
            if name in by_path and by_path[name] in self.targets:
                self.pair(layer, by_path[name], "renamed")
            elif isinstance(rename, Mapping):
                raise ValueError(
                    f"rename gives {layer.path!r} the name {name!r}, no layer of the model or taken; "
                    f"it has {_nearest(str(name), by_path)}, for example."
                )
        return {id(layer): str(new[layer.path]) for layer in self.sources}

    def pair(self, source: Layer, target: Layer, how: str) -> bool:
        """Settles two layers, or says why they cannot be the same; either way they are dealt with."""
        self.sources.remove(source)
        self.targets.remove(target)
        kinds = fits(source, target)
        if not kinds:
            shared = [kind for kind in target.kinds if kind in source.kinds]
            why = misfit(source, target, shared[0]) if shared else "they are layers of different kinds"
            self.problems.append(f"{source} does not fit {target}, {how}: {why}.")
            return False
        kind, *others = kinds
        if others and not same(source, target, kinds):
            self.problems.append(
                f"{source} may be read as {' or '.join(kinds)} for {target.path}: say which layers are "
                "transposed convolutions with transposed=(...)."
            )
            return False
        self.pairs.append(Pair(source, target, kind, how))
        return True

    def by_name(self, new: dict[int, str]) -> None:
        names = {id(s): _normal(new[id(s)]) for s in self.sources}
        names |= {id(t): _normal(t.path) for t in self.targets}
        ours = {names[id(t)]: t for t in self.targets}
        if not any(names[id(s)] in ours for s in self.sources):  # say "module." on one side
            for side in (self.sources, self.targets):
                cut = _common([names[id(layer)] for layer in side])
                names |= {id(layer): names[id(layer)][cut:] for layer in side}
            ours = {names[id(t)]: t for t in self.targets}
        trusted = _trusted([names[id(s)] for s in self.sources], list(ours))
        for source in list(self.sources):
            name = names[id(source)]
            if name in ours and _skeleton(name) in trusted and ours[name] in self.targets:
                self.pair(source, ours[name], "by name")

    def by_order(self) -> None:
        """Groups of layers that could be each other: equal in number, they are matched in order."""
        anchors = [(self.at[id(p.source)], self.at[id(p.target)]) for p in self.pairs]
        groups = list(self._groups())
        for sources, targets in groups:
            if len(sources) == len(targets) == 1:
                anchors.append((self.at[id(sources[0])], self.at[id(targets[0])]))
        for sources, targets in groups:
            if len(sources) != len(targets):
                continue  # told as leftovers
            couples = list(zip(sources, targets, strict=True))
            if len(sources) > 1 and (why := self._doubt(couples, anchors)):
                self._ambiguous(couples, why)
            elif all(fits(*couple) for couple in couples):
                for couple in couples:
                    self.pair(*couple, "by order" if len(couples) > 1 else "the only one that fits")

    def _groups(self) -> Iterable[tuple[list[Layer], list[Layer]]]:
        """The connected parts of the graph of what fits what."""
        free = list(self.sources)
        left = list(self.targets)
        while left:
            targets, sources = [left.pop(0)], []
            for target in targets:
                new = [s for s in free if fits(s, target)]
                free = [s for s in free if s not in new]
                sources += new
                reached = [t for t in left if any(fits(s, t) for s in new)]
                left = [t for t in left if t not in reached]
                targets += reached
            yield (
                sorted(sources, key=lambda s: self.at[id(s)]),
                sorted(targets, key=lambda t: self.at[id(t)]),
            )

    def _doubt(self, couples: list[tuple[Layer, Layer]], anchors: list[tuple[int, int]]) -> str | None:
        for side, has_order, name in zip(zip(*couples, strict=True), self.ordered, _SIDES, strict=True):
            if not has_order and len({_skeleton(_normal(layer.path)) for layer in side}) > 1:
                return f"{name} does not keep the order of layers"
        if not all(self.ordered):
            return None
        for source, target in couples:
            here, there = self.at[id(source)], self.at[id(target)]
            if any((here < a) != (there < b) for a, b in anchors if a != here):
                return "the layers between them have another order in the model"
        return None

    def _ambiguous(self, couples: list[tuple[Layer, Layer]], why: str) -> None:
        guess = {s.path: t.path for s, t in couples}
        self.problems.append(
            f"{len(couples)} layers have the same arrays, and {why}. If this is right, pass rename={guess}."
        )
        for source, target in couples:
            self.sources.remove(source)
            self.targets.remove(target)

    def leftovers(self) -> None:
        for target in self.targets:
            near = _candidates(target, self.sources)
            self.problems.append(f"nothing in the source for {target}{near}.")
        for source in self.sources:
            near = _candidates(source, self.targets)
            self.problems.append(f"no place in the model for {source}{near}.")


def _normal(path: str) -> tuple[str, ...]:
    """layers_0/conv and layers.0.conv are one name."""
    return tuple(re.sub(r"_(\d+)(?=[./]|$)", r".\1", path).replace("/~", "").replace("/", ".").split("."))


def _common(names: Sequence[tuple[str, ...]]) -> int:
    """How many first parts all names share; the last part of a name is its own."""
    count = 0
    for parts in zip(*(name[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        count += 1
    return count


def _skeleton(name: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.sub(r"\d+", "#", part) for part in name)


def _trusted(theirs: Sequence[tuple[str, ...]], ours: Sequence[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The skeletons whose numbered names are on one side all on the other, too."""
    sides = []
    for names in (theirs, ours):
        sides.append(by := collections.defaultdict(set))
        for name in names:
            by[_skeleton(name)].add(name)
    return {key for key in sides[0] if sides[0][key] <= sides[1][key] or sides[1][key] <= sides[0][key]}


def _nearest(name: str, names: Iterable[str]) -> str:
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)[0]


def _candidates(layer: Layer, others: Sequence[Layer]) -> str:
    """The layers on the other side that are most like it, for a message."""
    alike = [other for other in others if set(other.kinds) & set(layer.kinds)]
    alike.sort(key=lambda o: (-len(_sizes(o) & _sizes(layer)), -_ratio(o.path, layer.path)))
    return f"; nearest: {', '.join(map(str, alike[:2]))}" if alike else ""


def _sizes(layer: Layer) -> set[int]:
    return {n for leaf in layer.leaves.values() for n in leaf.shape}


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()
