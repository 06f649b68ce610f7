"""What a cost model missed for similar convolutions: a mean over measured ones, weighted by their distance.

The correction of a prediction is the Nadaraya-Watson estimate of log(measured / predicted), with a Gaussian
kernel in the space of `position` and `PRIOR` virtual measurements that say zero: far from everything
measured, the model stands as it is.

References:
  Nadaraya: On estimating regression. 1964, doi:10.1137/1109020.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..geometry import ConvSpec

BANDWIDTH, PRIOR = 2.5, 0.5


def position(spec: ConvSpec) -> tuple[float, ...]:
    """Where a convolution lies: logarithms of its sizes, and what makes it another kind of program.

    A difference of one is a factor of e in a size; other kinds are as far away as factors of 7 and 20.
    """
    axes, g = spec.axes, spec.groups
    sizes = (
        spec.batch,
        g,
        spec.in_channels // g,
        spec.out_channels // g,
        math.prod(a.size for a in axes),
        math.prod(a.kernel for a in axes),
        math.prod(a.stride for a in axes) ** 2,
        math.prod(a.out for a in axes),
        axes[-1].out,
    )
    kinds = (2 * any(a.dilation > 1 for a in axes), 3 * spec.rank, 3 * (g > 1), 3 * spec.depthwise)
    return (*map(math.log, sizes), *map(float, kinds))


def corrections(measured: dict[str, Any], names: list[str], spec: ConvSpec) -> dict[str, float]:
    """The factor for the prediction of each algorithm, by name.

    Args:
      measured: "positions", one for each measured convolution, and under each name in "residuals" the number
        of the convolution and log(measured / predicted), as pairs.
      names: of the algorithms; one that was not measured gets no correction.
      spec: the convolution that is predicted.
    """
    distances = ((np.asarray(measured["positions"]) - position(spec)) ** 2).sum(axis=1)
    weights = np.exp(-distances / (2 * BANDWIDTH**2))
    factors: dict[str, float] = {}
    for name in names:
        pairs = measured["residuals"].get(name, ())
        if len(pairs):
            index, residual = np.asarray(pairs).T
            w = weights[index.astype(int)]
            factors[name] = math.exp(float(w @ residual / (w.sum() + PRIOR)))
    return factors
