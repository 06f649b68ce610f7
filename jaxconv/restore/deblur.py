"""One image file to another: what `jaxconv deblur` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .iterate import Restored
from .picture import before_and_after
from .simulate import blur
from .words import method_with, parse_psf


def deblur(
    source: Path,
    target: Path,
    *,
    psf: str,
    method: str = "wiener",
    options: Mapping[str, Any] | None = None,
    figure: Path | None = None,
) -> Restored:
    """Restores an image file, into one of the same depth.

    Args:
      source: grey or colour, of 8 or 16 bits; transparency is kept.
      target: the file to write; its suffix says the format.
      psf: as `words.parse_psf` has it.
      method: one of `words.METHODS`.
      options: of the method, by its parameters' names.
      figure: where a picture of before and after, PSF and residual goes; None is nowhere.

    Returns:
      `Restored(x, report)`.

    Raises:
      ValueError: for files that cannot be read or written, and arguments that do not fit.
    """
    given = files.read(source)
    files.check_writable(target, given.alpha is not None)
    spread = parse_psf(psf)
    y = given.pixels.astype(np.float32)
    restored = method_with(method, options or {})(y, spread)
    x = np.asarray(restored.x)
    files.write(target, given._replace(pixels=x))
    if figure is not None:
        # Where the model sees nothing from outside of the frame: y - Hx has no boundary in it.
        residual = _inside(y, spread.shape) - np.asarray(blur(x, spread))
        before_and_after(figure, y, x, np.asarray(spread), residual, title=str(restored.report))
    return restored


def _inside(y: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """The positions of y at which a whole PSF fits."""
    return y[tuple(slice(k - 1 - k // 2, n - k // 2) for n, k in zip(y.shape, sizes, strict=False))]
