"""One table of named convolutions: the product axis of every operator test.

A case describes the convolution; its transposed convolution is the same case's input slot. Shapes, pads and
strides differ between axes, channels between input and output, so that a swapped axis, side or operand cannot
pass unseen.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxconv
from jaxconv.testing import assert_close
from tests import oracle

SLOTS = ("forward", "input_grad", "weight_grad")


@dataclass(frozen=True)
class Case:
    """One convolution. Everything spatial is per axis; `channels` are (in, out)."""

    name: str
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    channels: tuple[int, int] = (3, 4)
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    groups: int = 1
    batch: int = 2

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of jaxconv's functions and of the oracle's, which share their names."""
        return {
            "stride": self.stride or (1,) * self.rank,
            "dilation": self.dilation or (1,) * self.rank,
            "padding": self.padding or ((0, 0),) * self.rank,
            "groups": self.groups,
        }

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.size, self.channels[0])

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        return (*self.kernel, self.channels[0] // self.groups, self.channels[1])

    @property
    def out(self) -> tuple[int, ...]:
        """The output's spatial sizes."""
        o = self.options
        axes = zip(self.size, self.kernel, o["stride"], o["dilation"], o["padding"], strict=True)
        return tuple(oracle.output_size(n, k, s, d, lo, hi) for n, k, s, d, (lo, hi) in axes)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.out, self.channels[1])

    @property
    def output_padding(self) -> tuple[int, ...]:
        """What conv_transpose needs to give back `size`: the remainder that the stride leaves."""
        o = self.options
        axes = zip(self.out, self.kernel, o["stride"], o["dilation"], o["padding"], self.size, strict=True)
        return tuple(n - oracle.transposed_size(m, k, s, d, lo, hi) for m, k, s, d, (lo, hi), n in axes)

    @property
    def transposable(self) -> bool:
        """Whether conv_transpose can be asked for it: an output exists, output_padding is in range."""
        o = self.options
        limits = [max(s, d) for s, d in zip(o["stride"], o["dilation"], strict=True)]
        return min(self.out) > 0 and all(p < m for p, m in zip(self.output_padding, limits, strict=True))

    def contraction(self, slot: str) -> int:
        """How many products one element of the slot's result sums, at most."""
        taps, outs = int(np.prod(self.kernel)), int(np.prod(self.out))
        per_group = {"input": self.channels[0] // self.groups, "output": self.channels[1] // self.groups}
        return {
            "forward": taps * per_group["input"],
            "input_grad": taps * per_group["output"],
            "weight_grad": self.batch * outs,
        }[slot]

    def arrays(self, dtype: Any = np.float32, salt: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random (x, kernel, g): integers in -8..8 or standard normal numbers, the same for the same name."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name}{salt}".encode()))
        x, kernel, g = (random_array(rng, s, dtype) for s in (self.x_shape, self.kernel_shape, self.y_shape))
        return x, kernel, g


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Random numbers of any dtype the operators take, jax's bfloat16 included."""
    if np.dtype(dtype).kind in "iu":
        return rng.integers(-8, 9, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def all_slots(case: Case, layout: str = "channels_last", **options: Any) -> Callable[..., dict[str, Any]]:
    """jaxconv's three operators as one function of (x, kernel, g), which are channels-last in any layout."""
    first = layout == "channels_first"
    options = {**case.options, "layout": layout, **options}
    input_shape = (case.batch, case.channels[0], *case.size) if first else case.x_shape

    def enter(a: Any) -> Any:
        return jnp.moveaxis(a, -1, 1) if first else a

    def leave(a: Any) -> Any:
        return jnp.moveaxis(a, 1, -1) if first else a

    def run(x: Any, kernel: Any, g: Any) -> dict[str, Any]:
        x, g = enter(x), enter(g)
        return {
            "forward": leave(jaxconv.conv(x, kernel, **options)),
            "input_grad": leave(jaxconv.conv_input_grad(g, kernel, input_shape, **options)),
            "weight_grad": jaxconv.conv_weight_grad(x, g, case.kernel_shape, **options),
        }

    return run


def expected_slots(case: Case, x: Any, kernel: Any, g: Any) -> dict[str, np.ndarray]:
    """What the oracle says of the three operators."""
    return {
        "forward": oracle.forward(x, kernel, **case.options),
        "input_grad": oracle.input_grad(g, kernel, case.x_shape, **case.options),
        "weight_grad": oracle.weight_grad(x, g, case.kernel_shape, **case.options),
    }


def check_slots(case: Case, results: dict[str, Any], args: Any, **options: Any) -> None:
    """Each element of each slot within its own √K·Σ|a||b|; integers equal, wrapped as the dtype wraps."""
    expected, sizes = expected_slots(case, *args), expected_slots(case, *map(np.abs, args))
    for slot in SLOTS:
        got, k = np.asarray(results[slot]), max(1, case.contraction(slot))
        want = expected[slot].astype(got.dtype) if got.dtype.kind in "iu" else expected[slot]
        assert_close(got, want, contraction=k, scale=sizes[slot], label=slot, **options)


CASES = (
    # one dimension
    Case("1d", (9,), (3,)),
    Case("1d_pads_asymmetric", (7,), (4,), padding=((1, 2),)),
    Case("1d_stride_remainder", (11,), (3,), stride=(3,), padding=((0, 1),)),
    Case("1d_dilated_strided", (16,), (3,), stride=(2,), dilation=(3,), padding=((2, 1),)),
    # What stride and dilation share steps over the whole input, in all outputs that there are.
    Case("1d_steps_over", (1,), (2,), stride=(2,), dilation=(2,), padding=((1, 1),)),
    Case("1d_steps_over_all", (2,), (5,), stride=(4,), dilation=(4,), padding=((1, 14),)),
    Case("1d_causal", (8,), (3,), dilation=(2,), padding=((4, 0),)),
    Case("1d_crop_low", (10,), (3,), padding=((-2, 0),)),
    Case("1d_crop_high", (10,), (3,), stride=(2,), padding=((1, -3),)),
    Case("1d_crop_low_pad_high", (9,), (3,), padding=((-1, 2),)),
    Case("1d_crop_low_pad_high_strided", (12,), (4,), (2, 3), stride=(3,), padding=((-2, 3),)),
    Case("1d_crop_to_nothing", (4,), (2,), padding=((-5, 4),)),
    Case("1d_kernel_exceeds_input", (3,), (5,), padding=((2, 1),)),
    Case("1d_no_window_fits", (3,), (5,)),
    Case("1d_pad_exceeds_span", (4,), (2,), padding=((5, 3),)),
    Case("1d_stride_exceeds_kernel", (13,), (2,), (4, 3), stride=(5,), padding=((1, 0),)),
    Case("1d_depthwise_k5", (10,), (5,), (6, 6), padding=((2, 2),), groups=6, batch=3),
    Case("1d_depthwise_k15", (31,), (15,), (4, 4), padding=((3, 0),), groups=4),
    Case("1d_wide_taps_miss", (4,), (3,), (8, 9), dilation=(5,), padding=((5, 5),)),
    Case("1d_one_channel", (12,), (4,), (1, 1), stride=(2,), batch=1),
    # two dimensions
    Case("2d", (6, 5), (3, 2)),
    Case("2d_same_k3", (6, 7), (3, 3), (4, 5), padding=((1, 1), (1, 1))),
    Case("2d_pads_asymmetric", (5, 7), (3, 4), padding=((0, 2), (3, 1))),
    Case("2d_stride", (8, 9), (3, 2), stride=(2, 3), padding=((1, 0), (0, 1))),
    Case("2d_stride_remainder", (8, 10), (3, 3), (2, 5), stride=(2, 4), padding=((0, 0), (1, 0))),
    Case("2d_stride_exceeds_kernel", (9, 10), (2, 1), stride=(4, 3), padding=((1, 2), (0, 0))),
    Case("2d_dilated", (9, 8), (2, 3), dilation=(3, 2), padding=((1, 0), (2, 1))),
    Case("2d_dilated_strided", (10, 9), (3, 2), (4, 2), (2, 3), (2, 3), ((1, 2), (0, 3))),
    Case("2d_stride_divides_dilation", (9, 11), (3, 3), (3, 4), (2, 2), (2, 4), ((2, 1), (3, 4))),
    Case("2d_crop", (8, 9), (3, 2), padding=((-1, 2), (3, -2))),
    Case("2d_crop_strided_dilated", (11, 12), (2, 3), (3, 4), (2, 3), (3, 2), ((-2, 1), (1, -1))),
    Case("2d_1x1", (4, 5), (1, 1), (5, 3)),
    Case("2d_1x1_strided", (5, 7), (1, 1), (5, 3), stride=(2, 3)),
    Case("2d_kernel_exceeds_input", (2, 2), (3, 3), (4, 3), padding=((1, 1), (1, 1))),
    Case("2d_kernel_is_input", (3, 4), (3, 4), (2, 5)),
    Case("2d_groups", (6, 5), (3, 2), (6, 4), padding=((1, 0), (0, 1)), groups=2),
    Case("2d_groups_strided_dilated", (9, 10), (2, 3), (6, 9), (2, 3), (3, 1), ((1, 2), (2, 0)), 3),
    Case("2d_depthwise", (6, 7), (3, 3), (5, 5), padding=((1, 1), (1, 1)), groups=5),
    Case("2d_depthwise_multiplier", (7, 6), (3, 2), (3, 6), (2, 1), (1, 1), ((1, 0), (0, 1)), 3),
    Case("2d_depthwise_remainder", (6, 18), (2, 3), (3, 3), stride=(1, 2), groups=3),
    Case("2d_fewer_out", (7, 8), (2, 3), (6, 2), (1, 1), (3, 2), ((1, 3), (4, 0)), 2),
    Case("2d_wide_dilated", (5, 6), (3, 3), (9, 8), dilation=(2, 3), padding=((2, 1), (3, 2))),
    Case("2d_wide_groups_strided", (7, 8), (3, 2), (16, 24), (2, 3), (1, 2), ((2, 1), (1, 2)), 2),
    Case("2d_many_channels", (5, 6), (3, 3), (20, 18), padding=((1, 1), (1, 0)), batch=1),
    Case("2d_batch_zero", (5, 6), (3, 2), batch=0),
    Case("2d_space_zero", (0, 6), (3, 2), padding=((1, 0), (0, 0))),
    Case("2d_space_zero_padded", (0, 4), (2, 3), padding=((2, 1), (1, 1))),
    Case("2d_in_channels_zero", (5, 6), (3, 2), (0, 4)),
    Case("2d_out_channels_zero", (5, 6), (3, 2), (3, 0)),
    # three and more
    Case("3d", (4, 5, 6), (2, 3, 2), stride=(1, 2, 1), padding=((0, 1), (1, 0), (0, 0))),
    Case("3d_groups", (5, 4, 6), (2, 2, 3), (4, 6), (2, 1, 1), (1, 2, 2), ((1, 0), (0, 1), (2, 1)), 2),
    Case("4d", (3, 4, 2, 3), (2, 3, 1, 2), (2, 3), (1, 2, 1, 1), padding=((0, 1), (1, 1), (0, 0), (1, 0))),
    Case("4d_groups", (3, 3, 2, 4), (2, 1, 2, 2), (4, 2), (), (), ((1, 0), (0, 0), (0, 1), (-1, 0)), 2),
    Case("5d", (3, 2, 3, 2, 3), (2, 1, 2, 2, 1), (2, 3), (2, 1, 1, 1, 2), padding=((0, 1), *[(0, 0)] * 4)),
)

BY_NAME = {case.name: case for case in CASES}

# One case of each kind, for tests whose every case costs a compilation.
FEW = tuple(
    BY_NAME[name]
    for name in (
        "1d_dilated_strided",
        "2d_pads_asymmetric",
        "2d_stride",
        "2d_crop",
        "2d_groups_strided_dilated",
        "2d_depthwise_multiplier",
        "3d",
    )
)
