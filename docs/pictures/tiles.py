"""Seams of a naive tiler beside ours, and the halo of a tile, on a photograph of scikit-image.

    python -m docs.pictures.tiles

draws docs/images/tiles.jpg.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from jaxconv import filters
from jaxconv.partition import tiled

OUT = Path(__file__).parents[1] / "images" / "tiles.jpg"
TILE = 128


def local_contrast(x: jax.Array) -> jax.Array:
    """How many standard deviations a pixel lies from the mean of its surroundings."""
    mean = filters.gaussian(x, 12.0, truncate=2.5)
    spread = jnp.sqrt(filters.gaussian((x - mean) ** 2, 12.0, truncate=2.5))
    return (x - mean) / (spread + 0.05)


def naive(x: np.ndarray) -> np.ndarray:
    """Every tile by itself, as if the photograph ended there."""
    y = np.empty_like(x)
    for top in range(0, x.shape[0], TILE):
        for left in range(0, x.shape[1], TILE):
            here = slice(top, top + TILE), slice(left, left + TILE)
            y[here] = np.asarray(local_contrast(jnp.asarray(x[here])))
    return y


def draw(path: Path = OUT) -> tuple[float, float]:
    """The picture; returns by how much the naive tiles and ours differ from the whole at most."""
    from skimage import data

    x = data.camera()[:384, :384].astype(np.float32) / 255
    by_tiles = tiled(local_contrast, tile=TILE)
    whole, ours, theirs = np.asarray(local_contrast(jnp.asarray(x))), by_tiles(x), naive(x)
    ((halo, _), _) = by_tiles.tiling(x).halo
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.7), layout="constrained")
    axes[0].imshow(x, cmap="gray")
    corner, size = TILE - halo - 0.5, TILE + 2 * halo
    style = {"fill": False, "linewidth": 1.5}
    axes[0].add_patch(Rectangle((corner, corner), size, size, edgecolor="tab:orange", **style))
    axes[0].add_patch(Rectangle((TILE - 0.5, TILE - 0.5), TILE, TILE, edgecolor="tab:cyan", **style))
    axes[0].set_title(f"one tile, and its halo of {halo} pixels")
    worst = [float(np.abs(y - whole).max()) for y in (theirs, ours)]
    titles = ("local contrast, each tile by itself", "tiled(local_contrast)")
    for ax, y, title, error in zip(axes[1:3], (theirs, ours), titles, worst, strict=True):
        ax.imshow(y, cmap="gray", vmin=-2.5, vmax=2.5)
        ax.set_title(f"{title}\nlargest error {error:.1g}")
    drawn = axes[3].imshow(np.abs(theirs - whole), cmap="magma", vmin=0, vmax=1)
    axes[3].set_title("error of tiles by themselves")
    figure.colorbar(drawn, ax=axes[3], fraction=0.046)
    for ax in axes:
        ax.set_axis_off()
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 88})
    plt.close(figure)
    return worst[0], worst[1]


if __name__ == "__main__":
    print(draw())
