"""Pictures as the example has them: read from files into [0, 1], and their luma."""

import numpy as np

from jaxconv.restore.files import SUFFIXES as SUFFIXES
from jaxconv.restore.files import Picture as Picture
from jaxconv.restore.files import check_writable as check_writable
from jaxconv.restore.files import read as read
from jaxconv.restore.files import write as write

from .metrics import rgb2ycbcr


def luma(pixels: np.ndarray) -> np.ndarray:
    """Y of MATLAB's rgb2ycbcr (16..235) of an RGB or grey picture in [0, 1]; grey counts as R = G = B."""
    if pixels.ndim == 2:
        return 16 + 219 * pixels
    return rgb2ycbcr(pixels)[..., 0]
