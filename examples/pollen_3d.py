"""A microscope's volume, deconvolved: `python -m examples.pollen_3d demo --data sdeconv/data`.

The pollen grains come from the PyPI package sdeconv (BSD-3-Clause): truth, PSF, and what its authors made of
them, blurred and with the noise of counted photons. Space has three axes, and is periodic, since theirs was.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tifffile
from matplotlib.figure import Figure
from tyro.conf import arg

from jaxconv import restore
from jaxconv.restore import metrics

from .common.cli import run
from .common.figures import save

HOW_TO_GET_IT = "pip download --no-deps sdeconv, unzip it and name sdeconv/data, or pip install sdeconv"
# The variance of the observation about the blurred truth is 50 times its mean: a photon is 50 units.
GAIN = 50.0


class Volume(NamedTuple):
    """An observation in photons, the truth in the same unit, and the PSF."""

    y: np.ndarray
    truth: np.ndarray
    psf: np.ndarray


def load(folder: Path | None = None) -> Volume:
    """The volume in a folder, or in the installed package.

    Raises:
        ValueError: it is not there.
    """
    if folder is None and (package := find_spec("sdeconv")) and package.submodule_search_locations:
        folder = Path(package.submodule_search_locations[0]) / "data"
    names = ("pollen_poisson_noise_blurred", "pollen", "pollen_psf")
    paths = [(folder or Path()) / f"{name}.tif" for name in names]
    if folder is None or not all(path.is_file() for path in paths):
        raise ValueError(f"the pollen volume is not in {folder or 'any installed package'}: {HOW_TO_GET_IT}")
    y, truth, psf = (tifffile.imread(path).astype(np.float32) for path in paths)
    # All but 1e-6 of the light is within 8 pixels of the centre.
    psf = restore.psf.normalised(restore.psf.centred(psf, shape=(17, 17, 17)))
    return Volume(np.maximum(y, 0) / GAIN, truth / GAIN, np.asarray(psf))


class Run(NamedTuple):
    """Where the rule stopped, after how many iterations, and the PSNR of each iteration, had it not."""

    x: np.ndarray
    iterations: int
    quality: list[float]


def deconvolve(volume: Volume, *, iterations: int, accelerate: bool) -> Run:
    """Richardson-Lucy, stopped by the whiteness of what it leaves unexplained, and gone on with to see."""
    quality: list[float] = []

    def follow(k: int, x: np.ndarray) -> None:
        del k
        quality.append(score(x, volume))

    options: dict[str, Any] = {"iterations": iterations, "accelerate": accelerate, "boundary": "circular"}
    x, report = restore.richardson_lucy(
        volume.y, volume.psf, stop=restore.Whiteness(), progress=True, **options
    )
    restore.richardson_lucy(volume.y, volume.psf, callback=follow, **options)[0].block_until_ready()
    x = np.asarray(x)
    print(f"{report}  {score(x, volume):.2f} dB, observed {score(volume.y, volume):.2f} dB")
    return Run(x, int(report.iterations), quality)


def score(x: np.ndarray, volume: Volume) -> float:
    """PSNR, for white being the truth's brightest voxel."""
    return float(metrics.psnr(x, volume.truth, data_range=float(volume.truth.max())))


def demo(
    *,
    data: Annotated[Path | None, arg(metavar="DIR")] = None,
    out: Path = Path("runs/pollen_3d.png"),
    iterations: int = 60,
) -> None:
    """Deconvolve the volume, stopping by itself, and draw it.

    Args:
        data: Folder with the three files of sdeconv/data. Without it: the installed package.
        out: The figure, a PNG.
        iterations: How many at most.
    """
    volume = load(data)
    named = {"Richardson-Lucy": False, "accelerated": True}
    runs = {name: deconvolve(volume, iterations=iterations, accelerate=a) for name, a in named.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(out, volume, runs)
    print(out)


def draw(path: Path, volume: Volume, runs: Mapping[str, Run]) -> None:
    """Projections along two axes, and quality against the iterations."""
    x = runs["accelerated"].x
    columns = [
        ("truth", volume.truth),
        (f"observed  {score(volume.y, volume):.2f} dB", volume.y),
        (f"Richardson-Lucy  {score(x, volume):.2f} dB", x),
    ]
    depth, height, _ = volume.y.shape
    figure = Figure(figsize=(13, 8.2), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(3, 3, height_ratios=[height, 2 * depth, 1.4 * depth * 2])
    white = float(np.quantile(volume.truth.max(0), 0.99))
    for i, (name, pixels) in enumerate(columns):
        top, side = figure.add_subplot(grid[0, i]), figure.add_subplot(grid[1, i])
        _project(top, pixels.max(0), white, 1.0)
        _project(side, pixels.max(1), white, 2.0)
        top.set_title(name, fontsize=12)
    _curves(figure.add_subplot(grid[2, :]), score(volume.y, volume), runs)
    save(figure, path)


def _project(axis: Any, pixels: np.ndarray, white: float, stretch: float) -> None:
    """The brightest along one axis; a square root, since most of the grain is dim."""
    axis.imshow(np.sqrt(np.clip(pixels / white, 0, 1)), cmap="magma", vmin=0, vmax=1, aspect=stretch)
    axis.set(xticks=[], yticks=[])


def _curves(axis: Any, observed: float, runs: Mapping[str, Run]) -> None:
    axis.axhline(observed, color="gray", linestyle=":", label="observed")
    for (name, (_, stopped, quality)), colour in zip(runs.items(), ("tab:blue", "tab:orange"), strict=True):
        axis.plot(range(1, len(quality) + 1), quality, color=colour, label=name)
        axis.plot(stopped, quality[stopped - 1], "o", color=colour)
    axis.set(xlabel="iteration; the dot is where the rule stopped it", ylabel="PSNR, dB")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


_COMMANDS: dict[str, Callable[..., None]] = {"demo": demo}

if __name__ == "__main__":
    sys.exit(run(_COMMANDS, "python -m examples.pollen_3d"))
