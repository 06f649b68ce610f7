"""Colour and quality as super-resolution papers measure them: on Y of MATLAB's `rgb2ycbcr`, no border.

In float64 whatever JAX is set to, so not by `jaxconv.restore.metrics`; tests/test_restore_metrics.py holds
that both agree.
"""

import numpy as np
from scipy.ndimage import correlate1d

# ITU-R BT.601 with the digits of MATLAB's rgb2ycbcr: RGB in [0, 1] gives Y in 16..235 and Cb, Cr in 16..240.
_RGB_TO_YCBCR = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=np.float64
)
_OFFSET = np.array([16.0, 128.0, 128.0])


def rgb2ycbcr(rgb: np.ndarray) -> np.ndarray:
    """RGB in [0, 1], channels last, to YCbCr on the 8-bit scale (Y 16..235), unrounded.

    >>> rgb2ycbcr(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])).round(3)
    array([[235.   , 128.   , 128.   ],
           [ 81.481,  90.203, 240.   ]])
    """
    return rgb @ _RGB_TO_YCBCR.T + _OFFSET


def ycbcr2rgb(ycbcr: np.ndarray) -> np.ndarray:
    """The inverse of `rgb2ycbcr`; values beyond [0, 1] are left to the caller."""
    return (ycbcr - _OFFSET) @ np.linalg.inv(_RGB_TO_YCBCR).T


def to_8_bit(y: np.ndarray) -> np.ndarray:
    """Clipped and rounded half up as MATLAB's `uint8(y)` does, kept as float64."""
    return np.floor(np.clip(y, 0, 255) + 0.5)


def psnr(x: np.ndarray, truth: np.ndarray, *, border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255² / mean((x - truth)²)), `border` pixels around left out.

    >>> round(psnr(np.full((4, 4), 101.0), np.full((4, 4), 100.0)), 4)
    48.1308
    """
    error = np.mean((_crop(x, border) - _crop(truth, border)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(x: np.ndarray, truth: np.ndarray, *, border: int = 0) -> float:
    """Mean structural similarity of two pictures on the 8-bit scale.

    As in the authors' `ssim.m`: local moments under an 11x11 Gaussian window of standard deviation 1.5,
    C1 = (0.01·255)², C2 = (0.03·255)², averaged where the window lies wholly inside the picture.

    References:
        Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004,
        doi:10.1109/TIP.2003.819861
    """
    x, truth = _crop(x, border), _crop(truth, border)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, mt = _window(x), _window(truth)
    # Var = E[x²] - E[x]² and Cov = E[xt] - E[x]E[t], each under the window (eq. 14 to 16).
    vx, vt, cov = _window(x * x) - mx**2, _window(truth * truth) - mt**2, _window(x * truth) - mx * mt
    similarity = (2 * mx * mt + c1) * (2 * cov + c2) / ((mx**2 + mt**2 + c1) * (vx + vt + c2))  # eq. 13
    return float(similarity.mean())


def _window(x: np.ndarray) -> np.ndarray:
    gauss = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    gauss /= gauss.sum()
    return correlate1d(correlate1d(x, gauss, axis=0), gauss, axis=1)[5:-5, 5:-5]


def _crop(x: np.ndarray, border: int) -> np.ndarray:
    height, width = x.shape
    return x[border : height - border, border : width - border].astype(np.float64)
