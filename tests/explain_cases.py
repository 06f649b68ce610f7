"""Layers to explain, and what their printed calls compute, for several test files."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from jaxconv.explain import layer
from jaxconv.explain.layer import Layer
from tests import oracle


def draw_layer(seed: int, rank: int | None = None) -> Layer:
    """A random layer of asymmetric sizes that other libraries have too."""
    rnd = random.Random(seed)
    rank = rank or rnd.choice([1, 1, 2, 2, 3])
    transposed = rnd.random() < 0.5

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(rnd.randint(low, high) for _ in range(rank))

    while True:
        groups = rnd.choice([1, 1, 2])
        stride = each(1, 3) if rnd.random() < 0.7 else (1,) * rank
        dilation = each(1, 2) if rnd.random() < 0.5 else (1,) * rank
        pads = tuple((rnd.randint(0, 2), rnd.randint(0, 2)) for _ in range(rank))
        padding = rnd.choice(["SAME", "VALID", "SAME_LOWER", each(0, 2), pads, pads])
        named = isinstance(padding, str)
        extra = [rnd.randrange(max(s, d)) for s, d in zip(stride, dilation, strict=True)]
        try:
            found = layer(
                each(4, 6),
                each(1, 4),
                stride=stride,
                padding="CAUSAL" if named and rank == 1 and seed % 3 == 0 else padding,
                dilation=dilation,
                groups=groups,
                in_channels=2 * groups,
                out_channels=3 * groups,
                transposed=transposed,
                output_padding=extra if transposed and not named else 0,
            )
        except ValueError:  # everything cropped
            continue
        if all(found.out):
            return found


def arrays(described: Layer, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An input of two examples, a kernel in jaxconv's layout and a bias."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, *described.size, described.in_channels)).astype(np.float32)
    kernel = rng.standard_normal(described.kernel_shape).astype(np.float32)
    return x, kernel, rng.standard_normal(described.out_channels).astype(np.float32)


def expected(described: Layer, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The layer without bias, by the oracle and from the numbers that it was described by."""
    axes = described.axes
    options: dict[str, Any] = {
        "stride": tuple(a.stride for a in axes),
        "dilation": tuple(a.dilation for a in axes),
        "groups": described.groups,
    }
    extra = zip(described.padding, described.output_padding, strict=True)
    pads = tuple((lo, hi - more) for (lo, hi), more in extra)
    if not described.transposed:
        return oracle.forward(x, kernel, padding=pads, **options)
    sizes = zip(described.size, kernel.shape, axes, described.padding, described.output_padding, strict=False)
    out = [oracle.transposed_size(n, k, a.stride, a.dilation, *p, e) for n, k, a, p, e in sizes]
    shape = (len(x), *out, described.out_channels)
    return oracle.input_grad(x, kernel, shape, padding=pads, **options)
