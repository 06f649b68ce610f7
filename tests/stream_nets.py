"""Random networks along time, and what a stream has to give, found by running functions on whole signals."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv
from jaxconv.partition import Stream

Net = Callable[[jax.Array], jax.Array]


def chunks(x: np.ndarray, axis: int, rng: np.random.Generator, most: int = 9) -> Iterator[np.ndarray]:
    """A signal in pieces of random sizes, some of them empty, some of one sample."""
    start = 0
    while start < x.shape[axis]:
        size = int(rng.choice([0, 1, *range(2, most)]))
        yield x[(slice(None),) * axis + (slice(start, start + size),)]
        start += size


def joined(stream: Stream, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What comes out of a stream when a signal goes in chunk by chunk."""
    return np.concatenate([np.asarray(y) for y in stream(chunks(x, stream.axis, rng))], stream.out_axis)


def known(fn: Net, x: np.ndarray, axis: int, out_axis: int, samples: int) -> int:
    """How many of the first results stay as they are whatever comes after so many samples."""
    later = np.arange(x.shape[axis]).reshape([-1 if d == axis else 1 for d in range(x.ndim)]) >= samples
    y = [np.asarray(fn(jnp.where(later, x * sign + 9 * sign, x))) for sign in (1, -1)]
    other = np.moveaxis(y[0] != y[1], out_axis, 0).reshape(y[0].shape[out_axis], -1).any(1)
    return int(np.argmax(other)) if other.any() else len(other)


class Maker:
    """Draws layers of `(N, time, channels)`; parameters are drawn once, so that a net takes every length."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def kernel(self, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])), jnp.float32)

    def pick(self, *options: int) -> int:
        return int(self.rng.choice(options))

    def conv(self) -> Net:
        k, stride, dilation, groups = (
            self.pick(1, 2, 3, 5),
            self.pick(1, 1, 2),
            self.pick(1, 2),
            self.pick(1, 2),
        )
        padding = [(self.pick(0, 1, 4), self.pick(0, 2, 3))]
        kernel, bias = self.kernel(k, 4 // groups, 4), self.kernel(4)
        options = {"stride": stride, "dilation": dilation, "groups": groups}
        return lambda x: jnp.tanh(jaxconv.conv(x, kernel, bias, padding=padding, **options))

    def up(self) -> Net:
        k, stride = self.pick(1, 2, 3, 4), self.pick(1, 2, 3)
        padding, kernel = [(self.pick(*range(k)), self.pick(0, k // 2))], self.kernel(k, 4, 4)
        if self.pick(0, 1):
            return lambda x: jaxconv.conv_transpose(x, kernel, stride=stride, padding=padding)
        return lambda x: lax.conv_transpose(x, kernel, (stride,), "SAME", None, ("NWC", "WIO", "NWC"))

    def pool(self) -> Net:
        window, stride = (1, self.pick(2, 3), 1), (1, self.pick(1, 2), 1)
        padding = ((0, 0), (self.pick(0, 1), self.pick(0, 1)), (0, 0))
        operation, start = ((lax.max, -np.inf), (lax.add, 0.0))[self.pick(0, 1)]
        return lambda x: lax.reduce_window(x - 1, start, operation, window, stride, padding)

    def resize(self) -> Net:
        method, scale = ("nearest", "linear", "cubic")[self.pick(0, 1, 2)], (2, 1.5, 0.5)[self.pick(0, 1, 2)]
        return lambda x: jaxconv.resize(x, scale=(scale,), method=method)

    def pad(self) -> Net:
        lo, hi, value = self.pick(0, 1, 3), self.pick(0, 2), self.pick(0, 2)
        return lambda x: jnp.pad(x, ((0, 0), (lo, hi), (0, 0)), constant_values=value)

    def shuffle(self) -> Net:
        kernel = self.kernel(1, 4, 8)
        return lambda x: jaxconv.pixel_shuffle(jaxconv.conv(x, kernel), (2,))

    def branches(self) -> Net:
        dilation, kernels = self.pick(1, 3), [self.kernel(3, 4, 4) for _ in range(2)]
        mixed = self.kernel(1, 8, 4)

        def apply(x: jax.Array) -> jax.Array:
            one = jaxconv.conv(x, kernels[0], padding=dilation, dilation=dilation)
            two = jaxconv.conv(jax.nn.relu(x), kernels[1], padding="CAUSAL")
            return x + jaxconv.conv(jnp.concatenate([one, two], -1), mixed)

        return apply


def net(seed: int) -> Net:
    """A random network of five layers."""
    maker = Maker(seed)
    kinds = (
        maker.conv,
        maker.conv,
        maker.up,
        maker.pool,
        maker.resize,
        maker.pad,
        maker.shuffle,
        maker.branches,
    )
    layers = [kinds[maker.pick(*range(len(kinds)))]() for _ in range(5)]

    def apply(x: jax.Array) -> jax.Array:
        for layer in layers:
            x = layer(x)
        return x

    return apply
