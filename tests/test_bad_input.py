"""Malformed calls: each gets a ValueError that says what came and what was wanted, traced or not."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import Axis, ConvSpec, conv, conv_transpose
from jaxconv.nn import init

X = np.ones((2, 7, 5, 4), np.float32)  # N H W C
K = np.ones((3, 2, 4, 6), np.float32)  # kernel of a convolution 4 -> 6, and of a transposed one 6 -> 4
T = np.ones((2, 7, 5, 6), np.float32)  # input of that transposed convolution
G = np.ones((2, 5, 4, 6), np.float32)  # output of that convolution
ONES = np.ones

Call = Callable[..., object]

# (what is called on the arrays, the arrays, what the message must say)
CALLS: dict[str, tuple[Call, tuple[np.ndarray, ...], str]] = {
    # ranks
    "x has too few dimensions": (conv, (X[0, 0], K), r"x has shape \(5, 4\).*wants 4"),
    "x has too many dimensions": (
        conv,
        (X[None], K),
        r"5 dimensions; a kernel of 2 spatial dimensions wants 4",
    ),
    "kernel without space": (conv, (X, K[0, 0]), r"kernel has shape \(4, 6\); wanted \(\*k, in, out\)"),
    "scalar x": (conv, (np.float32(1), K), r"x has shape \(\)"),
    "transposed x of wrong rank": (conv_transpose, (T[0, 0], K), r"x has shape \(5, 6\)"),
    "g of wrong rank": (
        lambda g, k: jaxconv.conv_input_grad(g, k, (7, 4)),
        (G[0, 0], K),
        r"g has shape \(4, 6\)",
    ),
    # channels and kernels of another layout
    "kernel's in does not fit": (
        conv,
        (X, K[:, :, :3]),
        r"does not fit data of 4 channels; wanted \(\*k, 4/g",
    ),
    "kernel in PyTorch's layout": (conv, (X, ONES((6, 4, 3, 2), "f")), r"PyTorch.*interop\.torch"),
    "transposed kernel exchanged": (
        conv_transpose,
        (T, ONES((3, 2, 6, 4), "f")),
        r"last two axes look exchanged",
    ),
    "transposed kernel in PyTorch's layout": (conv_transpose, (T, ONES((6, 4, 3, 2), "f")), r"PyTorch"),
    "layout of x is the other": (
        lambda x, k: conv(x, k, layout="channels_first"),
        (X, K),
        r"does not fit data of 7 channels",
    ),
    # groups
    "groups do not divide in": (
        lambda x, k: conv(x, k, groups=3),
        (X, K),
        r"groups=3 must divide in_channels=4; use",
    ),
    "groups do not divide out": (
        lambda x, k: conv(x, k, groups=4),
        (X, K[:, :, :1]),
        r"groups=4 must divide out_channels=6; use one of 1, 2\.",
    ),
    "groups do not divide a transposed input": (
        lambda x, k: conv_transpose(x, k, groups=4),
        (T, K),
        r"groups=4 must divide in_channels=6; use one of 1, 2, 3, 6",
    ),
    "groups of zero": (lambda x, k: conv(x, k, groups=0), (X, K), r"groups=0 must be at least 1"),
    "negative groups": (lambda x, k: conv(x, k, groups=-2), (X, K), r"groups=-2 must be at least 1"),
    "groups no int": (
        lambda x, k: conv(x, k, groups=2.0),
        (X, K),
        r"groups=2\.0 of type float must be an int",
    ),
    "kernel not grouped": (
        lambda x, k: conv(x, k, groups=2),
        (X, K),
        r"groups=2 does not fit.*wanted \(\*k, 4/groups",
    ),
    # stride, dilation
    "stride of zero": (lambda x, k: conv(x, k, stride=0), (X, K), r"stride=0 must be at least 1"),
    "stride for three axes": (
        lambda x, k: conv(x, k, stride=(1, 2, 1)),
        (X, K),
        r"stride=\(1, 2, 1\) has 3 entries",
    ),
    "stride no int": (lambda x, k: conv(x, k, stride=1.5), (X, K), r"stride=1\.5 is of type float"),
    "stride of floats": (
        lambda x, k: conv(x, k, stride=(1.0, 2.0)),
        (X, K),
        r"stride=\(1\.0, 2\.0\) must hold int",
    ),
    "dilation of zero": (lambda x, k: conv(x, k, dilation=(1, 0)), (X, K), r"dilation=0 must be at least 1"),
    "negative dilation": (
        lambda x, k: conv_transpose(x, k, dilation=-1),
        (T, K),
        r"dilation=-1 must be at least 1",
    ),
    # padding
    "unknown padding": (
        lambda x, k: conv(x, k, padding="SOME"),
        (X, K),
        r"padding='SOME' is not known; .*CAUSAL",
    ),
    "padding of three axes": (
        lambda x, k: conv(x, k, padding=(1, 2, 3)),
        (X, K),
        r"has 3 entries for 2 spatial",
    ),
    "padding of triples": (lambda x, k: conv(x, k, padding=((1, 2, 3), 1)), (X, K), r"holds \(1, 2, 3\)"),
    "padding of floats": (lambda x, k: conv(x, k, padding=0.5), (X, K), r"padding=0\.5 is of type float"),
    "padding missing": (lambda x, k: conv(x, k, padding=None), (X, K), r"padding=None"),
    "one pair for one axis": (
        lambda x, k: conv(x, k, padding=(1, 2)),
        (X[:, 0], K[0]),
        r"For 1 in front and 2 behind write \(\(1, 2\),\)",
    ),
    "negative reflection": (
        lambda x, k: conv(x, k, padding=-1, padding_mode="reflect"),
        (X, K),
        r"only zeros can be negative",
    ),
    "reflection of one position": (
        lambda x, k: conv(x, k, padding=1, padding_mode="reflect"),
        (X[:, :1], K),
        r"at least 2 positions",
    ),
    "unknown padding mode": (
        lambda x, k: conv(x, k, padding_mode="mirror"),
        (X, K),
        r"padding_mode='mirror'.*reflect",
    ),
    "transposed reflection": (
        lambda x, k: conv_transpose(x, k, padding_mode="reflect"),
        (T, K),
        r"padding_mode='reflect' is not possible here; use one of zeros, circular",
    ),
    # output size of the transposed convolution
    "output_padding too large": (
        lambda x, k: conv_transpose(x, k, stride=2, output_padding=2),
        (T, K),
        r"output_padding=2 in spatial dimension 0.*below max\(stride, dilation\)=2",
    ),
    "output_padding negative": (
        lambda x, k: conv_transpose(x, k, output_padding=-1),
        (T, K),
        r"must be at least 0",
    ),
    "output_shape too large": (
        lambda x, k: conv_transpose(x, k, stride=2, output_shape=(18, 10)),
        (T, K),
        r"output_shape of 18 is impossible.*possible sizes are 15, 16",
    ),
    "output_shape too small": (
        lambda x, k: conv_transpose(x, k, stride=2, padding="SAME", output_shape=(12, 10)),
        (T, K),
        r"possible sizes are 13, 14",
    ),
    "output_shape of three axes": (
        lambda x, k: conv_transpose(x, k, output_shape=(9, 6, 4)),
        (T, K),
        r"output_shape=\(9, 6, 4\) has 3 entries",
    ),
    "output_shape and output_padding": (
        lambda x, k: conv_transpose(x, k, stride=2, output_padding=1, output_shape=(16, 11)),
        (T, K),
        r"both name the size",
    ),
    "output_padding with SAME": (
        lambda x, k: conv_transpose(x, k, stride=2, padding="SAME", output_padding=1),
        (T, K),
        r"does not go with padding='SAME'",
    ),
    "cropped below nothing": (
        lambda x, k: conv_transpose(x, k, padding=9),
        (T, K),
        r"an output of -9 is impossible",
    ),
    # the gradients as functions
    "g of another convolution": (
        lambda g, k: jaxconv.conv_input_grad(g, k, (2, 9, 5, 4)),
        (G, K),
        r"g has shape \(2, 5, 4, 6\).*gives \(2, 7, 4, 6\)",
    ),
    "input_shape too short": (
        lambda g, k: jaxconv.conv_input_grad(g, k, (7, 5)),
        (G, K),
        r"input_shape=\(7, 5\) has 2 entries; wanted 4",
    ),
    "input_shape no shape": (
        lambda g, k: jaxconv.conv_input_grad(g, k, 7),
        (G, K),
        r"input_shape=7 must be a tuple",
    ),
    "kernel_shape negative": (
        lambda x, g: jaxconv.conv_weight_grad(x, g, (3, -2, 4, 6)),
        (X, G),
        r"kernel_shape=\(3, -2, 4, 6\) has a negative entry",
    ),
    "kernel_shape of another kernel": (
        lambda x, g: jaxconv.conv_weight_grad(x, g, (3, 3, 4, 6)),
        (X, G),
        r"g has shape.*gives \(2, 5, 3, 6\)",
    ),
    "g with N and x without": (
        lambda x, g: jaxconv.conv_weight_grad(x[0], g[:1], K.shape),
        (X, G),
        r"x is without N, so g must be without N too",
    ),
    "kernel of size zero": (conv, (X, K[:0]), r"kernel=0 must be at least 1"),
    # bias, dtypes
    "bias of another length": (
        lambda x, k: conv(x, k, ONES(4, "f")),
        (X, K),
        r"bias has shape \(4,\); wanted \(6,\)",
    ),
    "bias of another rank": (lambda x, k: conv(x, k, ONES((1, 6), "f")), (X, K), r"bias has shape \(1, 6\)"),
    "bias wider than the result": (
        lambda x, k: conv(x, k, ONES(6, "f")),
        (X.astype(jnp.bfloat16), K.astype(jnp.bfloat16)),
        r"bias has dtype float32, wider",
    ),
    "mixed dtypes": (
        conv,
        (X, K.astype(jnp.bfloat16)),
        r"x has dtype float32 and kernel has bfloat16; cast one",
    ),
    "mixed dtypes, transposed": (
        conv_transpose,
        (T.astype("i4"), K),
        r"x has dtype int32 and kernel has float32",
    ),
    "booleans": (conv, (X.astype(bool), K.astype(bool)), r"dtype bool; wanted"),
    "narrower result": (
        lambda x, k: conv(x, k, preferred_element_type=jnp.float16),
        (X, K),
        r"preferred_element_type=float16 would lose",
    ),
    "result of no dtype": (
        lambda x, k: conv(x, k, preferred_element_type="float31"),
        (X, K),
        r"is not a dtype",
    ),
    # names
    "unknown layout": (
        lambda x, k: conv(x, k, layout="NHWC"),
        (X, K),
        r"layout='NHWC' is not known; use one of ch",
    ),
    "unknown algorithm": (
        lambda x, k: conv(x, k, algorithm="magic"),
        (X, K),
        r"algorithm='magic' is not known; .*direct",
    ),
    "algorithm of another slot": (
        lambda x, k: conv(x, k, algorithm="subpixel"),
        (X, K),
        r"not possible here: subpixel computes input_grad, not forward",
    ),
    "unknown precision": (
        lambda x, k: conv(x, k, precision="best"),
        (X, K),
        r"precision='best' is not known; .*highest",
    ),
    "three precisions": (lambda x, k: conv(x, k, precision=("high",) * 3), (X, K), r"has 3 entries"),
    # correlation, patches, matrix, shuffle
    "arrays of different rank": (jaxconv.correlate, (X, K[0]), r"x has 4 dimensions and k has 3"),
    "empty array": (jaxconv.convolve, (X[:0], K), r"must not be empty"),
    "unknown mode": (
        lambda x, k: jaxconv.convolve(x, k, mode="half"),
        (X, X),
        r"mode='half' is not known; use one of full",
    ),
    "valid that neither fits": (
        lambda x, k: jaxconv.correlate(x, k, mode="valid"),
        (ONES((3, 5)), ONES((4, 2))),
        r"at least as large.*\(3, 5\) and",
    ),
    "patches of three axes": (lambda x: jaxconv.unfold(x, (3, 2, 2)), (X[0],), r"x has shape \(7, 5, 4\)"),
    "patches of another size": (
        lambda p: jaxconv.fold(p, (7, 5), (3, 2)),
        (ONES((2, 5, 4, 25), "f"),),
        r"patches have shape .*gives \(N, 5, 4, 6 \* C\)",
    ),
    "matrix of a batch": (
        lambda k: jaxconv.conv_matrix(k, (2, 7, 5, 4)),
        (K,),
        r"input_shape=.*has 4 entries; wanted 3",
    ),
    "shuffle of too few channels": (lambda x: jaxconv.pixel_shuffle(x, 3), (X,), r"channels"),
    "unshuffle of another size": (lambda x: jaxconv.pixel_unshuffle(x, 2), (X,), r"7"),
}

# What is wrong before there is an array.
CONSTRUCTIONS: dict[str, tuple[Callable[[], object], str]] = {
    "text as x": (lambda: conv("image.png", K), r"x of type str is not an array"),
    "ragged list as x": (lambda: conv([[1.0], [1.0, 2.0]], K), r"x of type list is not an array"),
    "nothing as kernel": (lambda: conv(X, None), r"kernel of type NoneType is not an array"),
    "negative size": (lambda: Axis(-1, 3), r"size=-1 is negative"),
    "size of another type": (lambda: Axis(np.int64(7), 3), r"size=.*7.* of type int64 must be an int"),
    "true as a kernel": (lambda: Axis(7, True), r"kernel=True of type bool must be an int"),
    "core of an adjoint axis": (lambda: Axis(7, 3, stride=2).adjoint().core(), r"base=2 must be 1"),
    "taps of an adjoint axis": (lambda: Axis(7, 3, stride=2).adjoint().taps(), r"base=2 must be 1"),
    "plan of no spec": (lambda: jaxconv.plan(K.shape), r"fn_or_spec=.*of type tuple must be a ConvSpec"),
    "plan of no dtype": (
        lambda: jaxconv.plan(ConvSpec(1, 4, 6, 1, (Axis(5, 3),)), dtype="floaty"),
        r"dtype='floaty' is not a dtype",
    ),
    "spec of wrong groups": (
        lambda: ConvSpec(1, 4, 6, 4, (Axis(5, 3),)),
        r"groups=4 must divide out_channels=6",
    ),
    "plan of an unknown slot": (
        lambda: jaxconv.plan(ConvSpec(1, 4, 6, 1, (Axis(5, 3),)), slot="backward"),
        r"slot='backward'",
    ),
    "plan of an impossible algorithm": (
        lambda: jaxconv.plan(ConvSpec(1, 4, 6, 1, (Axis(5, 3),)), algorithm="subpixel"),
        r"not possible here",
    ),
    "bilinear kernel without space": (lambda: init.bilinear(2)(jax.random.key(0), (3, 3)), r"shape"),
}


@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused(name: str) -> None:
    call, arrays, words = CALLS[name]
    with pytest.raises(ValueError, match=words):
        call(*arrays)


@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused_while_tracing(name: str) -> None:
    call, arrays, words = CALLS[name]
    with pytest.raises(ValueError, match=words):
        jax.jit(call)(*arrays)


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_construction_is_refused(name: str) -> None:
    construct, words = CONSTRUCTIONS[name]
    with pytest.raises(ValueError, match=words):
        construct()


def test_there_are_enough() -> None:
    assert len(CALLS) + len(CONSTRUCTIONS) >= 60
