"""One photograph through every filter, resize and pooling, on one sheet.

    python -m examples.filter_sheet sheet --out sheet.png

Each tile is labelled with the call that made it. Signed results are red where positive, blue where negative.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
import skimage.io
import skimage.transform
import skimage.util
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxconv
from jaxconv import filters

from .common.cli import run
from .common.figures import save

_SIDE = 384
_COLUMNS = 6


class Tile(NamedTuple):
    """One picture: `apply` gets the colour photograph (height, width, 3) in [0, 1]."""

    label: str
    apply: Callable[[jax.Array], Any]
    signed: bool = False


def grey(x: jax.Array) -> jax.Array:
    """Luminance, as BT.709 has it."""
    return x @ jnp.array([0.2125, 0.7154, 0.0721])


def speckled(x: jax.Array) -> jax.Array:
    """A tenth of all pixels black or white."""
    chance = jax.random.uniform(jax.random.key(0), (*x.shape[:2], 1))
    return jnp.where(chance < 0.05, 0.0, jnp.where(chance > 0.95, 1.0, x))


def grainy(x: jax.Array) -> jax.Array:
    """Gaussian noise of a standard deviation of 0.1."""
    return x + 0.1 * jax.random.normal(jax.random.key(1), x.shape)


SPACE = (0, 1)
# Along the diagonal; one tap along the colours.
STREAK = np.eye(21)[..., None] / 21
SMOOTHING = (
    Tile("the photograph", lambda x: x),
    Tile("gaussian(x, 3)", lambda x: filters.gaussian(x, 3.0, axes=SPACE)),
    Tile("box(x, 15)", lambda x: filters.box(x, 15, axes=SPACE)),
    Tile("correlate(x, a streak)", lambda x: filters.correlate(x, STREAK)),
    Tile("unsharp_mask(x, 2, 1.5)", lambda x: filters.unsharp_mask(x, 2.0, 1.5, axes=SPACE)),
    Tile("bilateral(x, 4, 0.2)", lambda x: filters.bilateral(x, 4.0, 0.2, channel_axis=-1)),
)
NOISE = (
    Tile("with a tenth of specks", speckled),
    Tile("gaussian(specks, 1)", lambda x: filters.gaussian(speckled(x), 1.0, axes=SPACE)),
    Tile("median(specks, 3)", lambda x: filters.median(speckled(x), 3, axes=SPACE)),
    Tile("with noise of 0.1", grainy),
    Tile("gaussian(noise, 1)", lambda x: filters.gaussian(grainy(x), 1.0, axes=SPACE)),
    Tile("bilateral(noise, 2, 0.3)", lambda x: filters.bilateral(grainy(x), 2.0, 0.3, channel_axis=-1)),
)
EDGES = (
    Tile("sobel(x, axis=0)", lambda x: filters.sobel(grey(x), axis=0), signed=True),
    Tile("sobel(x, axis=1)", lambda x: filters.sobel(grey(x), axis=1), signed=True),
    Tile("sobel(x)", lambda x: filters.sobel(grey(x))),
    Tile("scharr(x)", lambda x: filters.scharr(grey(x))),
    Tile("prewitt(x)", lambda x: filters.prewitt(grey(x))),
    Tile("gaussian(x, 2, order=(0, 1))", lambda x: filters.gaussian(grey(x), 2.0, order=(0, 1)), signed=True),
)
BLOBS = (
    Tile("laplace(x)", lambda x: filters.laplace(grey(x)), signed=True),
    Tile("gaussian_laplace(x, 2)", lambda x: filters.gaussian_laplace(grey(x), 2.0), signed=True),
    Tile("gaussian_laplace(x, 6)", lambda x: filters.gaussian_laplace(grey(x), 6.0), signed=True),
    Tile(
        "difference_of_gaussians(x, 1)", lambda x: filters.difference_of_gaussians(grey(x), 1.0), signed=True
    ),
    Tile(
        "difference_of_gaussians(x, 4)", lambda x: filters.difference_of_gaussians(grey(x), 4.0), signed=True
    ),
    Tile("gaussian_laplace(x, 12)", lambda x: filters.gaussian_laplace(grey(x), 12.0), signed=True),
)


def _wave(frequency: float, degrees: int) -> Callable[[jax.Array], jax.Array]:
    return lambda x: abs(filters.gabor_bank(grey(x), [frequency], [np.deg2rad(degrees)])[..., 0, 0])


GABOR = tuple(
    Tile(f"|gabor_bank|, {frequency} / pixel, {degrees}°", _wave(frequency, degrees))
    for frequency in (0.1, 0.25)
    for degrees in (0, 60, 120)
)


def _enlarged(**options: Any) -> Callable[[jax.Array], jax.Array]:
    """A sixth of each side, six times: where a portrait has its face."""

    def apply(x: jax.Array) -> jax.Array:
        top, left = x.shape[0] // 9, x.shape[1] // 3
        detail = x[top : top + x.shape[0] // 6, left : left + x.shape[1] // 6]
        return jaxconv.resize(detail, scale=(6, 6), **options)

    return apply


def _shrunk(**options: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jaxconv.resize(x, scale=(1 / 6, 1 / 6), **options)


def _switched(x: jax.Array) -> jax.Array:
    """What pooling kept, where it was."""
    return jaxconv.max_unpool(*jaxconv.max_pool(x, (3, 3), return_indices=True), (3, 3))


ENLARGED = (
    Tile('resize 6, "nearest"', _enlarged(method="nearest")),
    Tile('resize 6, "linear"', _enlarged(method="linear")),
    Tile('resize 6, "linear", corners', _enlarged(method="linear", align_corners=True)),
    Tile('resize 6, "cubic"', _enlarged(method="cubic")),
    Tile('resize 6, "cubic", a=-0.5', _enlarged(method="cubic", cubic_a=-0.5)),
    Tile('resize 6, "lanczos3"', _enlarged(method="lanczos3")),
)
SHRUNK = (
    Tile('resize 1/6, "nearest"', _shrunk(method="nearest")),
    Tile('resize 1/6, "nearest-exact"', _shrunk(method="nearest-exact")),
    Tile('resize 1/6, "area"', _shrunk(method="area")),
    Tile('resize 1/6, "linear"', _shrunk(method="linear")),
    Tile('resize 1/6, "linear", antialias', _shrunk(method="linear", antialias=True)),
    Tile('resize 1/6, "cubic", antialias', _shrunk(method="cubic", antialias=True)),
)
POOLED = (
    Tile("max_pool(x, 6)", lambda x: jaxconv.max_pool(x, (6, 6))),
    Tile("max_unpool of max_pool(x, 3)", _switched),
    Tile("max_pool(x, 6, stride=1)", lambda x: jaxconv.max_pool(x, (6, 6), stride=1)),
    Tile("avg_pool(x, 6)", lambda x: jaxconv.avg_pool(x, (6, 6))),
    Tile("lp_pool(x, 6, 4) / sqrt(6)", lambda x: jaxconv.lp_pool(x, (6, 6), norm_type=4) / 36**0.25),
    Tile("adaptive_avg_pool(x, (9, 13))", lambda x: jaxconv.adaptive_avg_pool(x, (9, 13))),
)
# A row each.
ROWS: tuple[tuple[str, Sequence[Tile]], ...] = (
    ("smoothing and sharpening", SMOOTHING),
    ("noise", NOISE),
    ("edges", EDGES),
    ("blobs", BLOBS),
    ("waves", GABOR),
    ("a detail enlarged six times", ENLARGED),
    ("shrunk to a sixth", SHRUNK),
    ("pooled", POOLED),
)


def photograph(path: Path | None) -> jax.Array:
    """In colour, in [0, 1], the middle square of the picture, reduced to at most `_SIDE` pixels."""
    pixels = skimage.data.astronaut() if path is None else skimage.io.imread(path)
    pixels = np.atleast_3d(skimage.util.img_as_float(pixels))
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, 2)
    side = min(pixels.shape[:2])
    top, left = ((n - side) // 2 for n in pixels.shape[:2])
    square = pixels[top : top + side, left : left + side]
    small = skimage.transform.resize(square, (min(side, _SIDE),) * 2, anti_aliasing=True)
    return jnp.asarray(small, jnp.float32)


def draw(axis: Axes, tile: Tile, x: jax.Array) -> None:
    """One tile; what is no picture is scaled by its 99.5th percentile."""
    y = np.asarray(jax.jit(tile.apply)(x))
    if tile.signed or y.ndim == 2:
        most = float(np.percentile(abs(y), 99.5))
        axis.imshow(y, cmap="RdBu_r" if tile.signed else "magma", vmin=-most if tile.signed else 0, vmax=most)
    else:
        axis.imshow(np.clip(y, 0, 1), interpolation="nearest", aspect="auto")
    axis.set_title(tile.label, fontsize=9, family="monospace", pad=4)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def sheet(*, photo: Path | None = None, out: Path = Path("runs/filter_sheet.png")) -> None:
    """Draw the sheet.

    Args:
        photo: Any picture that scikit-image reads. Without it: the astronaut that comes with scikit-image.
        out: The PNG to write.
    """
    x = photograph(photo)
    figure = Figure(
        figsize=(2.75 * _COLUMNS, 3.05 * len(ROWS)), dpi=120, layout="constrained", facecolor="white"
    )
    grid = figure.subplots(len(ROWS), _COLUMNS, squeeze=False)
    for (title, tiles), axes in zip(ROWS, grid, strict=True):
        axes[0].set_ylabel(title, fontsize=12)
        for tile, axis in zip(tiles, axes, strict=True):
            draw(axis, tile, x)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(figure, out)
    print(f"{out}: {sum(len(tiles) for _, tiles in ROWS)} pictures")


def main(arguments: Sequence[str] | None = None) -> int:
    return run({"sheet": sheet}, "python -m examples.filter_sheet", arguments)


if __name__ == "__main__":
    raise SystemExit(main())
