"""A convolutional network and its backward pass with three rules for rectifiers, by hand in float64 NumPy.

pad (1, 0) and (0, 1) - conv 3x2 - relu - 2x2 maxima - [pad (1, 1) - conv 3x3 - relu] twice, one kernel -
mean over positions - dense
"""

from __future__ import annotations

import dataclasses

import numpy as np

FIRST, SECOND = ((1, 0), (0, 1)), ((1, 1), (1, 1))  # padding
SHAPE = (2, 8, 7, 2)  # of the input


@dataclasses.dataclass
class Weights:
    first: np.ndarray  # (3, 2, 2, 4)
    first_bias: np.ndarray
    second: np.ndarray  # (3, 3, 4, 4), used twice
    second_bias: np.ndarray
    dense: np.ndarray  # (4, 3)

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Weights:
        def draw(*shape: int) -> np.ndarray:
            return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

        dense = np.abs(draw(4, 3)) * np.array([[1], [-1], [1], [-1]], np.float32)  # signals of both signs
        return cls(draw(3, 2, 2, 4), draw(4), draw(3, 3, 4, 4), draw(4), dense)


def conv(x: np.ndarray, kernel: np.ndarray, padding: tuple) -> np.ndarray:
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    kh, kw = kernel.shape[:2]
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    y = np.zeros((*x.shape[:1], h, w, kernel.shape[3]))
    for i, j in np.ndindex(kh, kw):
        y += x[:, i : i + h, j : j + w] @ kernel[i, j]
    return y


def conv_back(g: np.ndarray, kernel: np.ndarray, padding: tuple) -> np.ndarray:
    kh, kw = kernel.shape[:2]
    n, h, w, _ = g.shape
    x = np.zeros((n, h + kh - 1, w + kw - 1, kernel.shape[2]))
    for i, j in np.ndindex(kh, kw):
        x[:, i : i + h, j : j + w] += g @ kernel[i, j].T
    (top, bottom), (left, right) = padding
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def pool(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2x2 maxima, what fills no window left out, and which of four each is: the switches."""
    h, w = x.shape[1] // 2, x.shape[2] // 2
    taps = np.stack([x[:, i : i + 2 * h : 2, j : j + 2 * w : 2] for i in (0, 1) for j in (0, 1)])
    return taps.max(0), taps.argmax(0)


def unpool(g: np.ndarray, switches: np.ndarray, shape: tuple) -> np.ndarray:
    x = np.zeros(shape)
    for place, (n, i, j, c) in zip(switches.ravel(), np.ndindex(*g.shape), strict=True):
        x[n, 2 * i + place // 2, 2 * j + place % 2, c] = g[n, i, j, c]
    return x


def rectify_back(rule: str, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    if rule == "gradient":
        return g * (x > 0)
    rectified = g * (g > 0)
    return rectified if rule == "deconvnet" else rectified * (x > 0)


class Network:
    """Keeps what the forward pass has computed."""

    def __init__(self, weights: Weights, x: np.ndarray):
        self.w, x = weights, x.astype(np.float64)
        self.before = conv(x, weights.first, FIRST) + weights.first_bias
        pooled, self.switches = pool(np.maximum(self.before, 0))
        self.inner = [conv(pooled, weights.second, SECOND) + weights.second_bias]
        self.inner.append(conv(np.maximum(self.inner[0], 0), weights.second, SECOND) + weights.second_bias)
        self.y = np.maximum(self.inner[1], 0).mean((1, 2)) @ weights.dense

    def back(self, rule: str, target: int) -> np.ndarray:
        """From one channel of the result, summed over examples, to the input."""
        n, h, w, _ = self.inner[1].shape
        g = np.broadcast_to(self.w.dense[:, target] / (h * w), (n, h, w, 4))
        return self.back_from_maps(rule, g)

    def back_from_maps(self, rule: str, g: np.ndarray) -> np.ndarray:
        for x in self.inner[::-1]:
            g = conv_back(rectify_back(rule, x, g), self.w.second, SECOND)
        g = unpool(g, self.switches, self.before.shape)
        return conv_back(rectify_back(rule, self.before, g), self.w.first, FIRST)

    def cam(self, target: int) -> np.ndarray:
        """Of the second convolution's second call, before it is rectified; max(0, ·) left out."""
        _, h, w, _ = self.inner[1].shape
        maps = self.inner[1]
        slopes = self.w.dense[:, target] / (h * w) * (maps > 0)
        return (slopes.mean((1, 2), keepdims=True) * maps).sum(-1)
