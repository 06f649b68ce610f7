"""The pictures of docs/restoration.md: `python -m docs.pictures.restoration`, about two minutes.

Those of the examples are made by them: examples/deblur.py and examples/pollen_3d.py, then saved as JPEG.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import skimage.restoration
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.restoration import quality
from benchmarks.restoration_cases import Case, photograph, point_spread
from jaxconv import restore
from jaxconv.restore import picture

IMAGES = Path(__file__).parents[1] / "images"


def ringing(case: Case) -> dict[str, np.ndarray]:
    """The same methods with and without an idea of what is outside of the frame."""
    weight = 0.03
    return {
        "blurred": case.y,
        "scikit-image, wiener": np.asarray(skimage.restoration.wiener(case.y, case.psf, weight, clip=False)),
        "tikhonov, Liu-Jia": np.asarray(restore.tikhonov(case.y, case.psf, weight).x),
        "truth": case.truth,
        "scikit-image, richardson_lucy": np.asarray(
            skimage.restoration.richardson_lucy(case.y, case.psf, num_iter=30, clip=False)
        ),
        "richardson_lucy, unknown": np.asarray(restore.richardson_lucy(case.y, case.psf, iterations=30).x),
    }


def mistakes(case: Case) -> dict[str, np.ndarray]:
    """Total variation with PSFs that are wrong in the usual ways."""
    true = case.psf
    shifted = np.roll(true, 2, 1)
    wide = restore.psf.normalised(
        np.asarray(Image.fromarray(true).resize((31, 31), Image.Resampling.BILINEAR))
    )
    psfs = {
        "the PSF": true,
        "turned by 180°": true[::-1, ::-1],
        "a quarter too wide": wide,
        "off-centre by 2": restore.Blur(shifted, case.y.shape),
    }
    return {name: np.asarray(restore.fista(case.y, p, 0.0015, iterations=60).x) for name, p in psfs.items()}


def draw(
    path: Path, results: Mapping[str, np.ndarray], case: Case, window: tuple[slice, slice], columns: int
) -> None:
    """Crops of the results, with their PSNR, and next to the border."""
    rows = -(-len(results) // columns)
    height, width = case.truth[window].shape[:2]
    size = (13, 13 / columns * height / width * rows + 0.6 * rows)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (name, x) in zip(axes.flat, results.items(), strict=True):
        score = quality(x, case)
        title = name
        if x is not case.truth:
            title += f"\n{score['psnr']:.1f} dB, {score['border']:.1f} dB at the border"
        picture.show(axis, x[window], title)
    FigureCanvasAgg(figure).draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # pyright: ignore[reportAttributeAccessIssue]
    Image.fromarray(pixels).save(path, quality=88, optimize=True)


def main() -> None:
    """Writes both."""
    case = photograph("camera", "motion", 0.01)
    draw(IMAGES / "restoration_ringing.jpg", ringing(case), case, np.s_[:260, :380], 3)
    case = photograph("camera", "trajectory", 0.01)
    assert case.psf is point_spread("trajectory")
    draw(IMAGES / "restoration_mistakes.jpg", mistakes(case), case, np.s_[60:260, 130:330], 4)


if __name__ == "__main__":
    main()
