"""Three networks for sound, each in another library; none of them knows that it is streamed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

import jaxconv


class HiFiGAN(nnx.Module):
    """A vocoder: frames of a mel spectrogram to samples, by transposed convolutions and dilated residuals.

    Kong, Kim, Bae: HiFi-GAN. NeurIPS 2020, arXiv:2010.05646.
    """

    def __init__(
        self,
        width: int,
        *,
        mels: int = 80,
        strides: Sequence[int] = (8, 8, 2, 2),
        kernels: Sequence[int] = (3, 7, 11),
        dilations: Sequence[int] = (1, 3, 5),
        rngs: nnx.Rngs,
    ) -> None:
        self.first = jaxconv.nn.Conv(mels, width, (7,), padding=3, rngs=rngs)
        ups, blocks = [], []
        for stride in strides:
            up = {"strides": (stride,), "padding": stride // 2, "rngs": rngs}
            ups.append(jaxconv.nn.ConvTranspose(width, width // 2, (2 * stride,), **up))
            width //= 2
            blocks.append(nnx.List([_Residual(width, k, dilations, rngs=rngs) for k in kernels]))
        self.ups, self.blocks = nnx.List(ups), nnx.List(blocks)
        self.last = jaxconv.nn.Conv(width, 1, (7,), padding=3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(N, frames, mels)` to `(N, samples, 1)`."""
        x = self.first(x)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(jax.nn.leaky_relu(x, 0.1))
            x = functools.reduce(jnp.add, [block(x) for block in blocks]) / len(blocks)
        return jnp.tanh(self.last(jax.nn.leaky_relu(x)))


class _Residual(nnx.Module):
    def __init__(self, width: int, kernel: int, dilations: Sequence[int], *, rngs: nnx.Rngs) -> None:
        def conv(dilation: int) -> Any:
            pad = dilation * (kernel - 1) // 2
            return jaxconv.nn.Conv(width, width, (kernel,), padding=pad, kernel_dilation=dilation, rngs=rngs)

        self.pairs = nnx.List([nnx.List([conv(d), conv(1)]) for d in dilations])

    def __call__(self, x: jax.Array) -> jax.Array:
        for one, two in self.pairs:
            x = x + two(jax.nn.leaky_relu(one(jax.nn.leaky_relu(x, 0.1)), 0.1))
        return x


class EnCodec(linen.Module):
    """A codec less its quantiser: strided convolutions down to frames, transposed ones back up, all causal.

    Défossez et al.: High fidelity neural audio compression. 2022, arXiv:2210.13438.

    Attributes:
      width: channels next to the signal.
      strides: of the encoder, the signal's first.
    """

    width: int
    strides: Sequence[int] = (2, 4, 5, 8)

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`(N, samples, 1)` to the same."""
        width, conv = self.width, lambda n, k, **more: linen.Conv(n, (k,), padding="CAUSAL", **more)
        x = conv(width, 7)(x)
        for stride in self.strides:
            x = x + conv(width, 1)(jax.nn.elu(conv(width // 2, 3)(jax.nn.elu(x))))
            width *= 2
            x = jnp.pad(jax.nn.elu(x), ((0, 0), (stride, 0), (0, 0)))
            x = linen.Conv(width, (2 * stride,), strides=(stride,), padding="VALID")(x)
        x = conv(width, 7)(jax.nn.elu(x))
        for stride in reversed(self.strides):
            width //= 2
            up = linen.ConvTranspose(width, (2 * stride,), strides=(stride,), padding="VALID")(jax.nn.elu(x))
            x = up[:, :-stride]
            x = x + conv(width, 1)(jax.nn.elu(conv(width // 2, 3)(jax.nn.elu(x))))
        return conv(1, 7)(jax.nn.elu(x))


def wavenet(params: Any, x: jax.Array) -> jax.Array:
    """A generator of samples: gated causal convolutions whose dilation doubles, and the sum of their skips.

    Van den Oord et al.: WaveNet. 2016, arXiv:1609.03499.

    Args:
      params: of `wavenet_params`.
      x: `(N, samples, channels)`.

    Returns:
      `(N, samples, channels)`.
    """
    x, skips = x @ params["first"], 0.0
    for layer in params["layers"]:
        y = jaxconv.conv(x, layer["kernel"], padding="CAUSAL", dilation=layer["dilation"])
        filtered, gate = jnp.split(y, 2, -1)
        y = jnp.tanh(filtered) * jax.nn.sigmoid(gate)
        skips = skips + y @ layer["skip"]
        x = x + y @ layer["residual"]
    return jax.nn.relu(skips) @ params["last"]


def wavenet_params(
    key: jax.Array,
    width: int,
    *,
    channels: int = 1,
    dilations: Sequence[int] = (*(2**i for i in range(10)),) * 2,
) -> Any:
    """Random parameters; the dilations are Python numbers among them."""
    keys = iter(jax.random.split(key, 3 * len(dilations) + 2))

    def draw(*shape: int) -> jax.Array:
        return jax.random.normal(next(keys), shape) / jnp.sqrt(jnp.prod(jnp.array(shape[:-1])))

    layers = [
        {
            "kernel": draw(2, width, 2 * width),
            "skip": draw(width, width),
            "residual": draw(width, width),
            "dilation": dilation,
        }
        for dilation in dilations
    ]
    return {"first": draw(channels, width), "layers": layers, "last": draw(width, channels)}


@dataclasses.dataclass(frozen=True)
class Net:
    """A network that is timed.

    Attributes:
      name: of it.
      make: the function of a signal.
      shape: of the signal, one second of it.
      rate: of the signal, in samples a second.
      chunks: how many samples come at a time.
    """

    name: str
    make: Callable[[], Callable[[jax.Array], jax.Array]]
    shape: tuple[int, int, int]
    rate: int
    chunks: tuple[int, ...]


def _wavenet() -> Callable[[jax.Array], jax.Array]:
    params = wavenet_params(jax.random.key(0), 64)
    return lambda x: wavenet(params, x)


def _encodec() -> Callable[[jax.Array], jax.Array]:
    model = EnCodec(32)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 640, 1)))
    return lambda x: model.apply(variables, x)  # pyright: ignore[reportReturnType]


NETS = (
    Net("wavenet", _wavenet, (1, 16000, 1), 16000, (160, 1600)),
    Net("hifigan", lambda: HiFiGAN(128, rngs=nnx.Rngs(0)), (1, 86, 80), 86, (2, 8)),
    Net("encodec", _encodec, (1, 24000, 1), 24000, (320, 1920)),
)
