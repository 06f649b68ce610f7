"""MATLAB's `imresize(x, scale, "bicubic")`, with which super-resolution papers make low-resolution pictures.

Three things set it apart from other bicubic resizers, and together they are worth decibels: Keys's kernel has
a = -1/2; when shrinking it is stretched by 1/scale, so that it also removes what the small grid cannot show;
and beyond its border the picture is mirrored (`d c b a | a b c d | d c b a`). All three are options of
`jaxconv.resize`.
"""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import resize


def bicubic(x: jax.Array, scale: int | Fraction) -> jax.Array:
    """Pictures (..., height, width, channels) resized as MATLAB does."""
    return resize(
        x, scale=(scale, scale), method="cubic", antialias=True, border="symmetric", rounding="ceil"
    )


def imresize(x: np.ndarray, scale: int | Fraction) -> np.ndarray:
    """A picture (height, width) or (height, width, channels) resized; values are neither rounded nor clipped.

    Args:
        x: array of floats; float64 reproduces MATLAB to rounding.
        scale: above 1 to enlarge. An exact number (3, `Fraction(1, 3)`), because the size of the result is
            `ceil(size * scale)` and 1/3 is no float.

    Example:
        Half the size of a unit step; the overshoot is 3/256:

        >>> step = np.repeat([0.0, 1.0], 8)[None].repeat(2, axis=0)
        >>> print(imresize(step, Fraction(1, 2))[0].round(4))
        [ 0.      0.     -0.0117  0.0664  0.9336  1.0117  1.      1.    ]
    """
    with jax.enable_x64(x.dtype == np.float64):
        y = np.array(bicubic(jnp.asarray(x.reshape(*x.shape[:2], -1)), scale))
    return y.reshape(*y.shape[:2], *x.shape[2:])
