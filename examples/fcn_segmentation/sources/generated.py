"""Discs, bars and triangles in colour on a textured ground, made from a seed: for tests and bare machines."""

import numpy as np

from ..dataset import DataSet, Pair
from .texture import texture

CLASSES = ("disc", "bar", "triangle")
_MOST_SHOWN = 4


def load(*, images: int, size: int, seed: int) -> DataSet:
    """Pictures, each a function of the seed and its number; a fifth as many as for training are held out."""

    def part(number: int, name: str, count: int) -> list[Pair]:
        return [compose(f"{name} {i}", size, np.random.default_rng([seed, number, i])) for i in range(count)]

    return DataSet(
        name="generated",
        classes=("background", *CLASSES),
        training=part(0, "training picture", images),
        held_out=part(1, "held-out picture", max(1, images // 5)),
        upright=False,
        note="shapes made from a seed: it shows that training works, no more",
    )


def compose(name: str, size: int, rng: np.random.Generator) -> Pair:
    """One to four shapes in random colours, sizes and turns, the later ones above."""
    pixels, label = texture(size, 3, rng), np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(1, _MOST_SHOWN + 1)):
        number = int(rng.integers(len(CLASSES)))
        mask = _inside(CLASSES[number], size, rng)
        pixels[mask] = rng.uniform(0, 1, 3) + rng.normal(scale=0.03, size=(mask.sum(), 3))
        label[mask] = number + 1
    return Pair(name, np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8), label)


def _inside(shape: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """The pixels of a shape about a random place: in its own axes u and v, in units of its radius."""
    radius, angle = size * rng.uniform(0.1, 0.22), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] - rng.uniform(0.1, 0.9, (2, 1, 1)) * size
    u = (x * np.cos(angle) + y * np.sin(angle)) / radius
    v = (y * np.cos(angle) - x * np.sin(angle)) / radius
    if shape == "disc":
        return u**2 + v**2 < 1
    if shape == "bar":
        return (abs(u) < 1.3) & (abs(v) < 0.4)
    return (v > -0.6) & (v + 1.8 * abs(u) < 1.2)
