"""What devices get from their neighbours, on a photograph: a U-Net's halos, layer by layer.

    python -m docs.pictures.halo

draws docs/images/halo.png, for the 2 x 4 devices that JAX makes of one CPU.
"""

from __future__ import annotations

import os

# Before the first `import jax`.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import skimage
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

import jaxconv
from jaxconv.partition import spatially_sharded

OUT = Path(__file__).parents[1] / "images" / "halo.png"
MESH = (2, 4)
LEVELS = 4
SHOWN = ((0, 1), (1, 3))  # devices: with three sides and two corners, and at a corner of the image


def unet(x: jax.Array, p: list[jax.Array]) -> jax.Array:
    """Two convolutions a level, down by maxima and up by transposed convolutions, with skips."""
    skips = []
    for level in range(LEVELS):
        x = jax.nn.relu(jaxconv.conv(jaxconv.conv(x, p[0], padding="SAME"), p[0], padding="SAME"))
        if level < LEVELS - 1:
            skips.append(x)
            x = jaxconv.max_pool(x, 2)
    for skip in reversed(skips):
        x = jaxconv.conv(skip + jaxconv.conv_transpose(x, p[1], stride=2), p[0], padding="SAME")
    return x


def bands(image: np.ndarray) -> dict[int, list[int]]:
    """For rows and columns, the width in pixels of what comes from one side before each layer."""
    mesh = jax.make_mesh(MESH, ("row", "col"))
    kernels = [jax.ShapeDtypeStruct((n, n, 3, 3), jnp.float32) for n in (3, 2)]
    x = jax.ShapeDtypeStruct((1, *image.shape), jnp.float32)
    sent = spatially_sharded(unet, mesh, (None, "row", "col")).exchanges(x, kernels).sent
    # A device between two others sends to both what it gets from both.
    sides = {1: 1 if MESH[0] == 2 else 2, 2: 2}
    return {dim: [int(e.rows * e.scale) // sides[dim] for e in sent if e.dim == dim] for dim in (1, 2)}


def shaded(image: np.ndarray, device: tuple[int, int], widths: dict[int, list[int]]) -> np.ndarray:
    """The photograph with a device's block as it is and its halos in the colours of their layers."""
    height, width = (n // m for n, m in zip(image.shape[:2], MESH, strict=True))
    top, left = device[0] * height, device[1] * width
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    off_rows = np.maximum(np.maximum(top - rows, rows - (top + height - 1)), 0)
    off_columns = np.maximum(np.maximum(left - columns, columns - (left + width - 1)), 0)
    grey = image.mean(2, keepdims=True).repeat(3, 2)
    found = 0.25 * grey + 0.75 * 255 * np.ones_like(grey)
    found[(off_rows == 0) & (off_columns == 0)] = image[(off_rows == 0) & (off_columns == 0)]
    edges = [np.cumsum([0, *widths[dim]]) for dim in (1, 2)]
    palette = plt.get_cmap("turbo")
    for layer in reversed(range(len(edges[0]) - 1)):
        inside = (off_rows <= edges[0][layer + 1]) & (off_columns <= edges[1][layer + 1])
        here = inside & ((off_rows > 0) | (off_columns > 0))
        colour = 255 * np.array(to_rgb(palette(0.08 + 0.84 * layer / (len(edges[0]) - 2))))
        found[here] = 0.45 * image[here] + 0.55 * colour
    return found.astype(np.uint8)


def main() -> None:
    """Draws the picture."""
    image = plt.imread(Path(skimage.__file__).parent / "data" / "astronaut.png")
    image = (255 * image[..., :3]).astype(np.float32)
    widths = bands(image)
    figure, panels = plt.subplots(1, 2, figsize=(10.6, 5.8), layout="constrained")
    for axes, device in zip(panels, SHOWN, strict=True):
        axes.imshow(shaded(image, device, widths))
        height, width = (n // m for n, m in zip(image.shape[:2], MESH, strict=True))
        for row, column in np.ndindex(*MESH):
            corner = (column * width - 0.5, row * height - 0.5)
            axes.add_patch(Rectangle(corner, width, height, fill=False, color="black", linewidth=0.8))
        axes.set_title(
            f"device {device}: {height} x {width} pixels of its own, {sum(widths[1])} more around",
            fontsize=10,
        )
        axes.set_axis_off()
    figure.savefig(OUT, dpi=90)


if __name__ == "__main__":
    main()
