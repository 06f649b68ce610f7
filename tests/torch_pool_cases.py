"""Poolings in PyTorch's words: cases to draw, and the same results from jaxconv.

Nothing here imports torch; tests/record_torch_pool.py computes the other side. Arrays are PyTorch's
throughout: channels first.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import jaxconv
from tests.torch_cases import QUICKLY

KINDS = ("max", "avg", "lp", "adaptive_max", "adaptive_avg", "max_unpool")


@dataclass(frozen=True)
class PoolCase:
    """One call of torch's F.{kind}_pool{n}d, or F.max_unpool{n}d of what F.max_pool{n}d found."""

    kind: str
    size: tuple[int, ...]
    window: tuple[int, ...]  # of an adaptive pooling: the output size
    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None
    norm: float = 2.0
    batch: int | None = 2
    channels: int = 3
    dtype: str = "float64"
    nan: bool = False

    @property
    def rank(self) -> int:
        return len(self.size)

    @property
    def finds_indices(self) -> bool:
        return self.kind in ("max", "adaptive_max", "max_unpool")

    def x(self, rng: np.random.Generator) -> np.ndarray:
        """Small integers: sums are exact, and windows of maxima have ties."""
        batch = () if self.batch is None else (self.batch,)
        shape = (*batch, self.channels, *self.size)
        x = rng.integers(1 if self.kind == "lp" else -4, 5, shape).astype(self.dtype)
        if self.nan:
            x[rng.random(shape) < 0.1] = np.nan
            x[rng.random(shape) < 0.1] = -np.inf
        return x


def jaxconv_results(case: PoolCase, x: np.ndarray) -> dict[str, np.ndarray]:
    """y, the indices if it finds any, and the gradient of Σ y (1, 2, 3, ...)."""
    layout = {"layout": "channels_first"}
    options = {"stride": case.stride, "padding": case.padding, **layout}

    def pool(x):
        if case.kind == "adaptive_avg":
            return jaxconv.adaptive_avg_pool(x, case.window, **layout), None
        if case.kind == "adaptive_max":
            return jaxconv.adaptive_max_pool(x, case.window, return_indices=True, **layout)
        ceil = {"ceil_mode": case.ceil_mode}
        if case.kind == "avg":
            more = {"count_include_pad": case.count_include_pad, "divisor_override": case.divisor_override}
            return jaxconv.avg_pool(x, case.window, **options, **ceil, **more), None
        if case.kind == "lp":
            more = {"norm_type": case.norm, "stride": case.stride}
            return jaxconv.lp_pool(x, case.window, **more, **ceil, **layout), None
        found = jaxconv.max_pool(
            x, case.window, dilation=case.dilation, return_indices=True, **options, **ceil
        )
        if case.kind == "max":
            return found
        y = jaxconv.max_unpool(*found, case.window, output_size=case.size, **options)
        return y, found[1]

    def run(x):
        y, pull, index = jax.vjp(pool, x, has_aux=True)
        return y, pull(jnp.arange(1, y.size + 1, dtype=y.dtype).reshape(y.shape))[0], index

    with jax.enable_x64(True):
        y, dx, index = jax.jit(run, compiler_options=QUICKLY)(x)
        return {"y": np.asarray(y), "dx": np.asarray(dx)} | (
            {} if index is None else {"index": np.asarray(index)}
        )


def draw(seed: int) -> PoolCase:
    """A random valid case; rank and kind cycle with the seed."""
    rng = np.random.default_rng(seed)
    rank, kind = 1 + seed % 3, KINDS[seed // 3 % len(KINDS)]
    ints = lambda lo, hi: rng.integers(lo, hi + 1, rank)  # noqa: E731
    whole = lambda values: tuple(int(v) for v in values)  # noqa: E731
    size = ints(4, 11 - 2 * rank)
    common = {
        "batch": [None, 1, 2][rng.integers(3)],
        "size": whole(size),
        "channels": int(rng.integers(1, 4)),
    }
    common["dtype"] = str(rng.choice(["float64", "float32"]))
    if kind.startswith("adaptive"):
        return PoolCase(
            kind, window=whole(ints(1, 8)), nan=kind.endswith("max") and bool(rng.integers(2)), **common
        )
    window = np.minimum(ints(1, 4), size)
    stride = None if rng.random() < 0.25 else whole(ints(1, 3))
    if kind == "max_unpool":  # without overlaps, where PyTorch's result is no accident
        return PoolCase(kind, window=whole(window), padding=(0,) * rank, dilation=(1,) * rank, **common)
    dilation = ints(1, 2) if kind == "max" else np.ones(rank, int)
    dilation = np.where(dilation * (window - 1) < size, dilation, 1)
    padding = np.zeros(rank, int) if kind == "lp" else rng.integers(0, window // 2 + 1)
    padding = np.where(dilation > 1, 0, padding)
    return PoolCase(
        kind,
        window=whole(window),
        stride=stride,
        padding=whole(padding),
        dilation=whole(dilation),
        ceil_mode=bool(rng.integers(2)),
        count_include_pad=bool(rng.integers(2)),
        divisor_override=None if rank == 1 or rng.random() < 0.7 else int(rng.integers(1, 9)),
        norm=float(rng.choice([1.0, 2.0, 3.0])),
        nan=kind == "max" and bool(rng.integers(2)),
        **common,
    )
