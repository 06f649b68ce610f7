"""Convolutions in PyTorch's words: cases to draw, and the same result with its gradients from jaxconv.

Nothing here imports torch; tests/record_torch.py computes the other side. Arrays are PyTorch's throughout
(channels first, its weight layouts), so that the kernel conversions of jaxconv.interop are part of what is
compared, gradients included.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

import jaxconv
from jaxconv import interop
from tests.oracle import output_size, transposed_size

NAMES = ("y", "dx", "dweight", "dbias")

# Hundreds of small programs that run once each: XLA need not optimise them.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class Case:
    """One call of torch's F.conv{n}d or F.conv_transpose{n}d, or of nn.Conv{n}d for its padding modes."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    channels: tuple[int, int]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    bias: bool = True
    batch: int | None = 2
    dtype: str = "float32"

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (*(() if self.batch is None else (self.batch,)), self.channels[0], *self.size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        inputs, outputs = self.channels
        if self.transposed:
            return (inputs, outputs // self.groups, *self.kernel)
        return (outputs, inputs // self.groups, *self.kernel)

    @property
    def out(self) -> tuple[int, ...]:
        """PyTorch's documented output sizes."""
        if self.padding == "same":
            return self.size
        pads = (0,) * self.rank if isinstance(self.padding, str) else self.padding
        axes = zip(self.size, self.kernel, self.stride, self.dilation, pads, strict=True)
        if self.transposed:
            sizes = [transposed_size(n, k, s, d, p, p) for n, k, s, d, p in axes]
            return tuple(size + extra for size, extra in zip(sizes, self.output_padding, strict=True))
        return tuple(output_size(n, k, s, d, p, p) for n, k, s, d, p in axes)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (*self.x_shape[: -self.rank - 1], self.channels[1], *self.out)

    @property
    def contraction(self) -> int:
        """How many products one element of any of the results sums, at most."""
        per_group = max(self.channels) // self.groups
        positions = max(int(np.prod(self.out)), int(np.prod(self.size)))
        return max(int(np.prod(self.kernel)) * per_group, (self.batch or 1) * positions)

    def arrays(self, values) -> dict[str, np.ndarray]:
        """x, weight, g and, where there is one, bias; `values(shape)` draws real numbers."""
        shapes = {"x": self.x_shape, "weight": self.weight_shape, "g": self.y_shape}
        if self.bias:
            shapes["bias"] = self.channels[1:]
        complex_ = np.dtype(self.dtype).kind == "c"
        drawn = {name: values(s) + (1j * values(s) if complex_ else 0) for name, s in shapes.items()}
        return {name: array.astype(self.dtype) for name, array in drawn.items()}


def jaxconv_results(case: Case, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """y and the gradients of the real part of <y, conj(g)>, in PyTorch's conventions."""

    def layer(x, weight, bias=None):
        options = {"stride": case.stride, "dilation": case.dilation, "groups": case.groups}
        options |= {"layout": "channels_first", "padding_mode": case.padding_mode}
        padding = case.padding.upper() if isinstance(case.padding, str) else case.padding
        if case.transposed:
            kernel = interop.torch.conv_transpose_kernel(weight)
            options["output_padding"] = case.output_padding
            return jaxconv.conv_transpose(x, kernel, bias, padding=padding, **options)
        return jaxconv.conv(x, interop.torch.conv_kernel(weight), bias, padding=padding, **options)

    def run(g, *operands):
        y, vjp = jax.vjp(layer, *operands)
        # For y = Jx PyTorch's gradient is Jᴴg, and JAX's transpose of J is without the conjugation.
        return y, *(grad.conj() for grad in vjp(g.conj()))

    operands = [arrays[name] for name in ("x", "weight", "bias") if name in arrays]
    with jax.enable_x64(True):
        results = jax.jit(run, compiler_options=QUICKLY)(arrays["g"], *operands)
        return {name: np.asarray(result) for name, result in zip(NAMES, results, strict=False)}


def draw(seed: int) -> Case:
    """A random valid case. Rank and operator cycle with the seed, so that each gets its share."""
    rng = np.random.default_rng(seed)
    rank, transposed = 1 + seed % 3, bool(seed // 3 % 2)
    groups = int(rng.choice([1, 1, 2, 3]))
    ints = lambda lo, hi: tuple(int(i) for i in rng.integers(lo, hi + 1, rank))  # noqa: E731
    kernel, stride, dilation = ints(1, 5 - rank // 2), ints(1, 4 - rank // 2), ints(1, 3)
    mode = "zeros" if transposed else str(rng.choice(["zeros", "zeros", "reflect", "replicate", "circular"]))
    padding: tuple[int, ...] | str = ints(0, 3)
    spelling = rng.choice(["numbers", "numbers", "numbers", "same", "valid"])
    if not transposed and spelling != "numbers":
        padding = str(spelling)
        stride = (1,) * rank if padding == "same" else stride
    span = np.array(dilation) * (np.array(kernel) - 1) + 1
    pads = span // 2 if padding == "same" else np.array(0 if padding == "valid" else padding)
    room = np.array(ints(0, 8 - 2 * rank))
    if transposed:
        # The smallest input whose result, before output_padding, has a position.
        size = np.maximum(-(-(2 * pads + 1 - span) // stride) + 1, 1) + room // 2
        output_padding = tuple(int(rng.integers(max(s, d))) for s, d in zip(stride, dilation, strict=True))
    else:
        # A window fits, and PyTorch can reflect or wrap that far.
        size = np.maximum(np.maximum(span - 2 * pads, 1) if padding != "same" else 1, 0) + room
        size = np.maximum(size, {"reflect": pads + 1, "circular": pads}.get(mode, 1))
        output_padding = ()
    return Case(
        size=tuple(int(n) for n in size),
        kernel=kernel,
        channels=(groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        transposed=transposed,
        output_padding=output_padding,
        padding_mode=mode,
        bias=bool(rng.integers(2)),
        batch=[None, 1, 2, 3][rng.integers(4)],
        dtype=str(rng.choice(["float64", "float64", "float64", "float32", "complex128", "complex64"])),
    )
