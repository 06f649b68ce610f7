"""Random small networks whose results grow with every input: a change of one input shows wherever it is seen.

Kernels are positive and sum to about one for each result, so a huge input stays huge on its way through, also
through maxima. `sees` finds by running a network which positions of its input each result depends on.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv

Net = Callable[[jax.Array], jax.Array]
HUGE = 1e20
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Maker:
    """Draws layers; parameters are drawn once, so that a network takes inputs of several sizes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def kernel(self, *shape: int) -> jax.Array:
        drawn = self.rng.uniform(0.5, 1.5, shape)
        return jnp.asarray(drawn / np.prod(shape[:-1]), jnp.float32)

    def pick(self, *options: int) -> int:
        return int(self.rng.choice(options))

    def conv(self, channels: int, out: int, *, same: bool = False) -> Net:
        k, stride, dilation = ([self.pick(*o) for _ in range(2)] for o in ((1, 2, 3), (1, 1, 2), (1, 2)))
        groups = self.pick(*(g for g in (1, 2, 4) if channels % g == 0 == out % g))
        lows = [self.pick(0, 1, 2) for _ in k]
        padding = [(lo, self.pick(0, 1)) for lo in lows]
        if same:
            stride = [1, 1]
            spans = [d * (n - 1) for n, d in zip(k, dilation, strict=True)]
            padding = [(lo := self.pick(*range(span + 1)), span - lo) for span in spans]
        kernel = self.kernel(*k, channels // groups, out)
        return lambda x: lax.conv_general_dilated(
            x, kernel, stride, padding, None, dilation, _LAYOUT, feature_group_count=groups
        )

    def up(self, channels: int, out: int) -> Net:
        k, stride = [self.pick(1, 2, 3, 4) for _ in range(2)], [self.pick(2, 3), self.pick(1, 2)]
        padding = [(self.pick(*range(n)), self.pick(0, n // 2)) for n in k]
        kernel, dilation = self.kernel(*k, out, channels), [1, self.pick(1, 2)]
        if self.pick(0, 1):
            return lambda x: jaxconv.conv_transpose(
                x, kernel, stride=stride, padding=padding, dilation=dilation, algorithm="zero_insertion"
            )
        return lambda x: lax.conv_transpose(x, kernel, stride, "SAME", dilation, _LAYOUT, True)

    def pool(self) -> Net:
        window, stride = (1, self.pick(2, 3), self.pick(1, 2), 1), (1, self.pick(1, 2), 2, 1)
        padding = ((0, 0), (self.pick(0, 1), 1), (0, 0), (0, 0))
        operation, start = ((lax.max, -np.inf), (lax.add, 0.0))[self.pick(0, 1)]
        return lambda x: lax.reduce_window(x, start, operation, window, stride, padding)

    def resize(self) -> Net:
        method = ("nearest", "linear", "cubic")[self.pick(0, 1, 2)]
        numerator, denominator = ((2, 1), (3, 2), (1, 2))[self.pick(0, 1, 2)]

        def apply(x: jax.Array) -> jax.Array:
            n, h, w, c = x.shape
            h = max(h * numerator // denominator, 1)
            return jax.image.resize(x, (n, h, w, c), method)

        return apply

    def border(self) -> Net:
        mode = ("reflect", "wrap", "edge", "constant")[self.pick(0, 1, 2, 3)]
        return lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 2), (0, 0)), mode)

    def crop(self) -> Net:
        top, step = self.pick(0, 1, 2), self.pick(1, 2, 3)
        return lambda x: x[:, top:-1:step, ::-1]

    def shuffle(self) -> Net:
        if self.pick(0, 1):
            return lambda x: jaxconv.pixel_shuffle(x, (2, 2))

        def apply(x: jax.Array) -> jax.Array:
            x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
            mixed = self_mix(jaxconv.pixel_unshuffle(x, 2))
            return jaxconv.pixel_shuffle(mixed, 2)

        self_mix = self.conv(16, 16, same=True)
        return apply

    def residual(self) -> Net:
        first, second = self.conv(4, 4, same=True), self.conv(4, 4, same=True)
        return lambda x: x + second(jax.nn.relu(first(x)))

    def branches(self) -> Net:
        left, right, mix = self.conv(4, 2, same=True), self.conv(4, 2, same=True), self.conv(4, 4)
        return lambda x: mix(jnp.concatenate([left(x), jax.nn.softplus(right(x))], -1))

    def u(self) -> Net:
        down, up, mix = self.conv(4, 4, same=True), self.kernel(2, 2, 4, 4), self.conv(8, 4)

        def apply(x: jax.Array) -> jax.Array:
            deep = down(lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"))
            wide = lax.conv_transpose(deep, up, (2, 2), "VALID", dimension_numbers=_LAYOUT)
            return mix(jnp.concatenate([x, wide[:, : x.shape[1], : x.shape[2]]], -1))

        return apply

    def loop(self) -> Net:
        kernels = self.kernel(3, 3, 1, 4, 4)

        def step(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, None]:
            padding = ((2, 0), (0, 0))
            return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT), None

        return lambda x: lax.scan(step, x, kernels)[0]


def net(seed: int, layers: int = 3) -> Net:
    """From one channel, through some blocks of four, to two; the first block is another for each seed."""
    make = Maker(seed)
    blocks = [
        make.residual, make.branches, make.pool, make.resize, make.border, make.crop, make.u, make.loop,
        make.shuffle, lambda: make.up(4, 4), lambda: make.conv(4, 4),
    ]  # fmt: skip
    order = [seed % len(blocks), *(make.pick(*range(len(blocks))) for _ in range(layers - 1))]
    chain = [make.conv(1, 4), *(blocks[i]() for i in order)]

    def apply(x: jax.Array) -> jax.Array:
        for layer in chain:
            x = layer(x)
            x = jnp.concatenate([x] * 4, -1) if x.shape[-1] == 1 else x
        return x

    return apply


def sees(fn: Net, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For each axis, whether (position of the input, position of the result) depend on each other.

    A whole row of the input is made huge at once, once for each row and column.
    """
    h, w = shape
    x = np.random.default_rng(0).uniform(1, 1.1, (1 + h + w, h, w, 1)).astype(np.float32)
    x[:] = x[0]
    for i in range(h):
        x[1 + i, i] = HUGE
    for i in range(w):
        x[1 + h + i, :, i] = HUGE
    y = np.asarray(jax.jit(fn)(x))
    assert np.isfinite(y).all()
    changed = (np.abs(y[1:] - y[0]) > 0.01 * np.abs(y[0])).any(-1)
    return changed[:h].any(2), changed[h:].any(1)
