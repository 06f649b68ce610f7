"""What results see and what they depend on: effective receptive fields of four stacks of random weights.

    python -m docs.pictures.effective_field

draws docs/images/effective_field.png.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

import jaxconv

OUT = Path(__file__).parents[1] / "images" / "effective_field.png"
CHANNELS, SIZE = 16, 65


def kernels(depth: int, seed: int = 0) -> list[jax.Array]:
    """He-initialised 3x3 kernels, so that a signal keeps its size from layer to layer."""
    keys = jax.random.split(jax.random.key(seed), depth)
    scale = (2 / (9 * CHANNELS)) ** 0.5
    return [scale * jax.random.normal(key, (3, 3, CHANNELS, CHANNELS)) for key in keys]


def stack(depth: int, *, dilations: tuple[int, ...] = (1,), residual: bool = False) -> Callable[[Any], Any]:
    """Convolutions with rectifiers between them."""
    weights = kernels(depth)

    def apply(x: jax.Array) -> jax.Array:
        for i, kernel in enumerate(weights):
            dilation = dilations[i % len(dilations)]
            y = jaxconv.conv(jax.nn.relu(x) if i else x, kernel, dilation=dilation, padding=dilation)
            x = x + y if residual else y
        return x

    return apply


PANELS = {
    "10 layers": stack(10),
    "20 layers": stack(20),
    "20 layers, residual": stack(20, residual=True),
    "6 layers, dilated 1, 2, 4": stack(6, dilations=(1, 2, 4)),
}


def main() -> None:
    """Draws the picture."""
    figure, panels = plt.subplots(1, 4, figsize=(13, 3.1), layout="constrained")
    x = jax.ShapeDtypeStruct((8, SIZE, SIZE, CHANNELS), jnp.float32)
    for axes, (title, fn) in zip(panels, PANELS.items(), strict=True):
        found = jaxconv.effective_receptive_field(fn, x, samples=64)
        found.draw(axes)
        rows, columns = found.box
        axes.set_title(f"{title}\nsees {len(rows)}x{len(columns)}")
    figure.savefig(OUT, dpi=100)


if __name__ == "__main__":
    main()
