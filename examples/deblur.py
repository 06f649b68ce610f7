"""A photograph blurred by motion, restored, knowing the motion or not: `python -m examples.deblur demo`.

The middle of a photograph is blurred, so that light from outside of the frame is blurred in, as in a camera;
noise is added. Wiener, Richardson-Lucy and total variation restore it with the true PSF. Then length and
angle of the motion are unknown: they are fitted to the blurred picture, from a guess that is wrong.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import skimage
from matplotlib.figure import Figure

from jaxconv import restore
from jaxconv.restore import files, metrics, picture

from .common.cli import run
from .common.figures import save

Params = dict[str, float]


class Observation(NamedTuple):
    """A blurred picture, the truth in its frame, and the noise that was added."""

    y: np.ndarray
    truth: np.ndarray
    noise: float


def motion(params: Mapping[str, Any]) -> jax.Array:
    """The family that the PSF is known to be of."""
    return restore.psf.motion(params["length"], params["angle"], shape=(25, 25))


def observe(scene: np.ndarray, psf: jax.Array, noise: float) -> Observation:
    """What a camera sees of a scene, whose margins are blurred in."""
    y = restore.blur(scene, psf)
    y = restore.noise.gaussian(jax.random.key(0), y, sigma=noise)
    inside = tuple(slice(k - 1 - k // 2, -(k // 2)) for k in psf.shape)
    return Observation(np.clip(y, 0, 1), scene[inside], noise)


def restored(seen: Observation, params: Params, guess: Params) -> dict[str, np.ndarray]:
    """By each method, with what it is called in the figure."""
    psf = motion(params)
    results = {
        "Wiener": restore.wiener(seen.y, psf),
        "Richardson-Lucy": restore.richardson_lucy(seen.y, psf, iterations=100, stop=restore.Whiteness()),
        "total variation": restore.fista(seen.y, psf, 0.15 * seen.noise),
    }
    grey = seen.y if seen.y.ndim == 2 else seen.y.mean(-1)
    found = restore.semi_blind(grey, motion, guess, iterations=1).report.chosen["params"]
    fitted = {name: float(value) for name, value in found.items()}
    results[f"total variation, fitted: {words(fitted)}"] = restore.fista(
        seen.y, motion(fitted), 0.15 * seen.noise
    )
    results[f"total variation, guess: {words(guess)}"] = restore.fista(
        seen.y, motion(guess), 0.15 * seen.noise
    )
    for name, (_, report) in results.items():
        print(f"{name}: {report}")
    return {"blurred": seen.y, **{name: np.asarray(result.x) for name, result in results.items()}}


def words(params: Params) -> str:
    """Length and angle, to be read."""
    return f"{params['length']:.1f} px, {params['angle']:.1f}°"


def demo(
    *,
    image: Path = Path(skimage.__file__).parent / "data/astronaut.png",
    out: Path = Path("runs/deblur.png"),
    length: float = 19.0,
    angle: float = 30.0,
    guess: tuple[float, float] = (16.0, 24.0),
    noise: float = 0.01,
) -> None:
    """Blur a sharp photograph, restore it, and draw what came of it.

    Args:
        image: A sharp photograph; by default one of scikit-image's.
        out: The figure, a PNG.
        length: Of the motion, in pixels.
        angle: Of the motion, in degrees.
        guess: Length and angle that the fit begins with.
        noise: Standard deviation, where white is 1.
    """
    params = {"length": length, "angle": angle}
    seen = observe(files.read(image).pixels.astype(np.float32), motion(params), noise)
    results = restored(seen, params, dict(zip(params, guess, strict=True)))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(out, seen.truth, results)
    print(out)


def draw(path: Path, truth: np.ndarray, results: Mapping[str, np.ndarray]) -> None:
    """Each result, and the truth, with a detail below."""
    columns = {**results, "truth": truth}
    height, width = truth.shape[:2]
    per_row = -(-len(columns) // 2)
    figure = Figure(figsize=(15, 7.5 * (height / width + 1) + 0.8), layout="constrained", facecolor="white")
    axes = figure.subplots(4, per_row, height_ratios=[height / width, 1] * 2, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    box = picture.detail(truth)
    for i, (name, pixels) in enumerate(columns.items()):
        row, column = divmod(i, per_row)
        whole, zoomed = axes[2 * row, column], axes[2 * row + 1, column]
        for axis in (whole, zoomed):
            axis.set_axis_on()
        score = "" if pixels is truth else f"\n{quality(pixels, truth)}"
        picture.show(whole, pixels, name + score)
        picture.frame(whole, box)
        picture.show(zoomed, pixels[box], "", edge=picture.BOX)
    save(figure, path)


def quality(x: np.ndarray, truth: np.ndarray) -> str:
    """PSNR and SSIM, to be read."""
    x, options = np.clip(x, 0, 1), {"data_range": 1.0, "channel_axis": -1 if x.ndim > 2 else None}
    return f"{metrics.psnr(x, truth, **options):.2f} dB, SSIM {metrics.ssim(x, truth, **options):.3f}"


_COMMANDS: dict[str, Callable[..., None]] = {"demo": demo}

if __name__ == "__main__":
    sys.exit(run(_COMMANDS, "python -m examples.deblur"))
