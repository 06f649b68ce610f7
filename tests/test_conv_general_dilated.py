"""jaxconv.conv_general_dilated is lax's: values and both gradients over a random sweep of its parameters."""

import collections
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv.testing import assert_close, check_grads
from tests import oracle
from tests.torch_cases import QUICKLY

SEEDS = range(90)


@dataclass(frozen=True)
class Call:
    """The operands' shapes in the order that the options name, and a bound on the products in a sum."""

    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    contraction: int
    options: dict[str, Any]


def draw(seed: int) -> Call:
    """A random valid call. Pads stay within the span, where lax has no negative pad in front of anything."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 3
    ints = lambda low, high: tuple(int(i) for i in rng.integers(low, high + 1, rank))  # noqa: E731
    window, size = ints(1, 4), ints(4 - rank, 9 - 2 * rank)
    kind = rng.choice(["plain", "plain", "strided", "transposed", "both"])
    stride = ints(1, 3) if kind in ("strided", "both") else (1,) * rank
    base = ints(1, 3) if kind in ("transposed", "both") else (1,) * rank
    dilation = ints(1, 3)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    padding: Any = [(int(rng.integers(span)), int(rng.integers(-1, span))) for span in spans]
    if max(base) == 1 and rng.integers(2):
        padding = str(rng.choice(["SAME", "SAME_LOWER", "VALID"]))
    # At least one window fits.
    pads = (
        padding
        if isinstance(padding, list)
        else [(0, 0) if padding == "VALID" else (span, 0) for span in spans]
    )
    least = [-(-(span - 1 - sum(pad)) // b) + 1 for span, pad, b in zip(spans, pads, base, strict=True)]
    size = tuple(map(max, size, least))
    groups = int(rng.choice([1, 1, 2, 3]))
    by_batch = groups > 1 and bool(rng.integers(3) == 0)
    features, batches = (1, groups) if by_batch else (groups, 1)
    channels = int(rng.integers(1, 4))
    data = {"N": batches * int(rng.integers(1, 3)), "C": features * channels}
    kernel = {"I": channels, "O": groups * int(rng.integers(1, 4))}
    letters = "HWD"[:rank]
    numbers = tuple("".join(rng.permutation(list(named + letters))) for named in ("NC", "OI", "NC"))
    data |= dict(zip(letters, size, strict=True))
    kernel |= dict(zip(letters, window, strict=True))
    usual = ("NC" + letters, "OI" + letters, "NC" + letters)
    if rng.integers(6) == 0:
        numbers = usual
    # Spatial letters may be permuted: strides, pads and dilations follow the kernel's order.
    order = [letters.index(letter) for letter in numbers[1] if letter in letters]
    along = lambda values: tuple(values[i] for i in order)  # noqa: E731
    options = {
        "window_strides": along(stride),
        "padding": padding if isinstance(padding, str) else along(padding),
        "lhs_dilation": None if max(base) == 1 and rng.integers(2) else along(base),
        "rhs_dilation": None if max(dilation) == 1 and rng.integers(2) else along(dilation),
        "dimension_numbers": None if numbers == usual else numbers,
        "feature_group_count": features,
        "batch_group_count": batches,
    }
    lhs_shape, rhs_shape = tuple(data[c] for c in numbers[0]), tuple(kernel[c] for c in numbers[1])
    positions = [n * b + 2 * s for n, b, s in zip(size, base, spans, strict=True)]
    contraction = int(np.prod(window)) * max(*positions, *data.values(), *kernel.values())
    return Call(lhs_shape, rhs_shape, contraction, options)


def results(function, lhs, rhs, g, options) -> tuple:
    y, vjp = jax.vjp(lambda lhs, rhs: function(lhs, rhs, **options), lhs, rhs)
    return y, *vjp(g)


@pytest.mark.parametrize("seed", SEEDS)
def test_sweep(seed: int) -> None:
    call, rng = draw(seed), np.random.default_rng(seed)
    with jax.enable_x64(True):
        lhs, rhs = rng.standard_normal(call.lhs_shape), rng.standard_normal(call.rhs_shape)
        shape = jax.eval_shape(lambda a, b: lax.conv_general_dilated(a, b, **call.options), lhs, rhs).shape
        g = rng.standard_normal(shape)

        def both(*arrays):
            functions = (jaxconv.conv_general_dilated, lax.conv_general_dilated)
            return [results(function, *arrays, call.options) for function in functions]

        ours, theirs = jax.jit(both, compiler_options=QUICKLY)(lhs, rhs, g)
    for name, got, wanted in zip(("y", "d lhs", "d rhs"), ours, theirs, strict=True):
        assert got.dtype == wanted.dtype
        label = f"{name} of {call}"
        assert_close(got, np.asarray(wanted), contraction=call.contraction, factor=4, label=label)


def test_the_sweep_visits_everything() -> None:
    seen, numbers = collections.Counter(), set()
    for seed in SEEDS:
        options = draw(seed).options
        strided, based = max(options["window_strides"]) > 1, max(options["lhs_dilation"] or [1]) > 1
        padding = options["padding"] if isinstance(options["padding"], str) else "pairs"
        seen.update([("stride", strided, "base", based), ("padding", padding)])
        seen.update([(name, options[name]) for name in ("feature_group_count", "batch_group_count")])
        seen.update([(name, options[name] is None) for name in options if name.endswith("dilation")])
        seen["default numbers", options["dimension_numbers"] is None] += 1
        numbers.add(options["dimension_numbers"])
    assert len(seen) == 4 + 4 + 3 + 3 + 2 + 2 + 2
    assert min(seen.values()) >= 3
    assert len(numbers) > 40


@pytest.mark.parametrize(
    ("size", "window", "stride", "base", "dilation", "pads"),
    [
        (8, 3, 1, 1, 1, (-2, 3)),
        (8, 3, 2, 1, 1, (-1, 4)),
        (5, 2, 1, 3, 2, (-2, 5)),
        (5, 2, 1, 2, 1, (6, -1)),
        (6, 3, 2, 1, 2, (7, 6)),
        (4, 3, 1, 3, 1, (5, 4)),
    ],
)
def test_pads_that_lax_gets_wrong_on_some_platforms(
    size: int,
    window: int,
    stride: int,
    base: int,
    dilation: int,
    pads: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Negative in front, positive behind, here or in a gradient (openxla/xla#48713): NumPy is the judge."""
    x = rng.standard_normal((2, size, 3)).astype(np.float32)
    kernel = rng.standard_normal((window, 3, 4)).astype(np.float32)

    def convolve(x, kernel):
        return jaxconv.conv_general_dilated(
            x, kernel, (stride,), [pads], (base,), (dilation,), dimension_numbers=("NWC", "WIO", "NWC")
        )

    spread = np.zeros((2, (size - 1) * base + 1, 3))
    spread[:, ::base] = x
    options = {"stride": (stride,), "padding": (pads,), "dilation": (dilation,)}
    expected = oracle.forward(spread, kernel, **options)
    assert_close(convolve(x, kernel), expected, contraction=3 * window)
    check_grads(convolve, (x, kernel), multilinear=True)


FORMS = [
    ((2, 6, 5, 3), (3, 2, 3, 4), ("NHWC", "HWIO", "NHWC")),
    ((2, 3, 6, 5), (4, 3, 3, 2), None),
    ((6, 2, 5, 3), (3, 4, 2, 3), lax.ConvDimensionNumbers((1, 3, 0, 2), (1, 3, 0, 2), (2, 0, 3, 1))),
]


@pytest.mark.parametrize(
    ("lhs_shape", "rhs_shape", "numbers"), FORMS, ids=["strings", "None", "ConvDimensionNumbers"]
)
def test_spellings_of_dimension_numbers(lhs_shape, rhs_shape, numbers, rng: np.random.Generator) -> None:
    lhs, rhs = (rng.standard_normal(shape).astype(np.float32) for shape in (lhs_shape, rhs_shape))
    ours = jaxconv.conv_general_dilated(lhs, rhs, (2, 1), ((1, 0), (0, 2)), dimension_numbers=numbers)
    theirs = lax.conv_general_dilated(lhs, rhs, (2, 1), ((1, 0), (0, 2)), dimension_numbers=numbers)
    assert ours.shape == theirs.shape
    assert_close(ours, np.asarray(theirs), contraction=18, factor=4)


@pytest.mark.parametrize(
    ("dtype", "preferred"),
    [
        (jnp.bfloat16, None),
        (jnp.bfloat16, jnp.float32),
        (jnp.float16, jnp.float32),
        (jnp.float32, None),
        (jnp.complex64, None),
        (jnp.int8, jnp.int32),
        (jnp.int32, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("base", [1, 2])
def test_preferred_element_type(dtype, preferred, base: int, rng: np.random.Generator) -> None:
    lhs, rhs = (jnp.asarray(rng.integers(-4, 5, s), dtype) for s in ((2, 6, 3), (3, 3, 4)))
    if dtype == jnp.complex64:
        lhs, rhs = lhs + 1j * lhs[:, ::-1], rhs * (1 - 2j)
    options = {"lhs_dilation": (base,), "dimension_numbers": ("NWC", "WIO", "NWC")}
    options |= {"preferred_element_type": preferred, "precision": lax.Precision.HIGHEST}
    ours = jaxconv.conv_general_dilated(lhs, rhs, (1,), "VALID" if base == 1 else [(2, 1)], **options)
    theirs = lax.conv_general_dilated(lhs, rhs, (1,), "VALID" if base == 1 else [(2, 1)], **options)
    assert ours.dtype == theirs.dtype == (preferred or dtype)
    # Small integers: no sum is rounded but to the result's type.
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("base", [1, 2])
def test_gradients_keep_the_operands_type(base: int, rng: np.random.Generator) -> None:
    lhs, rhs = (jnp.asarray(rng.integers(-2, 3, s), jnp.bfloat16) for s in ((2, 6, 3), (3, 3, 4)))

    def loss(lhs, rhs, preferred):
        y = jaxconv.conv_general_dilated(
            lhs,
            rhs,
            (1,),
            [(1, 1)],
            (base,),
            dimension_numbers=("NWC", "WIO", "NWC"),
            preferred_element_type=preferred,
        )
        return jnp.sum(y.astype(jnp.float32))

    mixed = jax.grad(loss, (0, 1))(lhs, rhs, jnp.float32)
    wide = jax.grad(loss, (0, 1))(lhs.astype(jnp.float32), rhs.astype(jnp.float32), None)
    for got, wanted in zip(mixed, wide, strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted.astype(jnp.bfloat16)))


@pytest.mark.parametrize("lhs_shape", [(0, 3, 6), (2, 3, 0), (2, 0, 6), (2, 3, 1)], ids=str)
def test_empty_arrays_and_results(lhs_shape: tuple[int, ...]) -> None:
    lhs, rhs = np.ones(lhs_shape, np.float32), np.ones((4, lhs_shape[1], 2), np.float32)
    ours = jaxconv.conv_general_dilated(lhs, rhs, (1,), "VALID")
    theirs = lax.conv_general_dilated(lhs, rhs, (1,), "VALID")
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours, theirs)


def test_no_spatial_axis(rng: np.random.Generator) -> None:
    lhs, rhs = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal((4, 3)).astype(np.float32)
    ours = jaxconv.conv_general_dilated(lhs, rhs, (), "VALID")
    assert_close(ours, lhs @ rhs.T, contraction=3, factor=4)


@pytest.mark.parametrize(
    ("lhs_shape", "rhs_shape", "strides", "padding", "options"),
    [
        ((2, 3, 6), (4, 2, 3), (1,), "VALID", {}),
        ((2, 3, 6), (4, 3, 3), (1, 1), "VALID", {}),
        ((2, 3, 6), (4, 3, 3), (-1,), "VALID", {}),
        ((2, 3, 6), (4, 3, 3), (1,), "WRAP", {}),
        ((2, 3, 6), (4, 3, 3), (1,), [(0, 0), (0, 0)], {}),
        ((2, 3, 6), (4, 3, 3), (1,), "SAME", {"lhs_dilation": (2,)}),
        ((2, 3, 6), (4, 3), (1,), "VALID", {}),
        ((2, 3, 6), (4, 3, 3), (1,), "VALID", {"feature_group_count": 2}),
        ((3, 3, 6), (4, 3, 3), (1,), "VALID", {"batch_group_count": 2}),
        ((2, 3, 6), (4, 3, 3), (1,), "VALID", {"dimension_numbers": ("NCW", "OIW", "NHC")}),
        ((2, 3, 6), (4, 3, 3), (1,), "VALID", {"rhs_dilation": (0,)}),
    ],
)
def test_refuses_what_lax_refuses(lhs_shape, rhs_shape, strides, padding, options) -> None:
    lhs, rhs = np.zeros(lhs_shape, np.float32), np.zeros(rhs_shape, np.float32)
    errors = []
    for function in (lax.conv_general_dilated, jaxconv.conv_general_dilated):
        with pytest.raises((ValueError, TypeError, RuntimeError)) as error:
            function(lhs, rhs, strides, padding, **options)
        errors.append(error.value)
    assert type(errors[0]) is type(errors[1])


def test_out_sharding(rng: np.random.Generator) -> None:
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    wanted = NamedSharding(mesh, PartitionSpec("data", None, None))
    lhs, rhs = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3, 6), (5, 3, 2)))
    with jax.set_mesh(mesh):
        x, kernel = jax.device_put(lhs, wanted), jax.device_put(rhs, NamedSharding(mesh, PartitionSpec()))
        y = jax.jit(lambda x, k: jaxconv.conv_general_dilated(x, k, (1,), "VALID", out_sharding=wanted))(
            x, kernel
        )
    assert y.sharding.is_equivalent_to(wanted, 3)
    assert_close(y, np.asarray(lax.conv_general_dilated(lhs, rhs, (1,), "VALID")), contraction=6, factor=4)


@pytest.mark.parametrize(
    "options", [{"strides": 2}, {"input_dilation": 2, "padding": ((1, 0), (0, 2))}], ids=str
)
def test_as_the_function_of_a_flax_layer(options, rng: np.random.Generator) -> None:
    """`nnx.Conv(conv_general_dilated=...)`: values and gradients of all parameters."""
    x = rng.standard_normal((2, 6, 5, 3)).astype(np.float32)
    gradients = []
    for function in (jaxconv.conv_general_dilated, lax.conv_general_dilated):
        layer = nnx.Conv(3, 4, (3, 2), conv_general_dilated=function, rngs=nnx.Rngs(0), **options)
        value, grads = nnx.value_and_grad(lambda layer: jnp.sum(layer(x) ** 2))(layer)
        gradients.append([value, *jax.tree.leaves(grads)])
    assert len(gradients[0]) == 3
    for got, wanted in zip(*gradients, strict=True):
        assert_close(got, np.asarray(wanted), contraction=18 * 60 * 2, factor=4)


def test_axis_that_xla_takes_for_a_group(rng: np.random.Generator) -> None:
    """Window 2 over unpadded data of base dilation 2, and a window larger than the data on the other axis.

    XLA exchanges data and kernel there and gets the window wrong: with lax this call aborts the process.
    """
    x = rng.standard_normal((1, 4, 3, 2)).astype(np.float32)
    kernel = rng.standard_normal((2, 5, 2, 3)).astype(np.float32)
    numbers, pads = ("NHWC", "HWIO", "NHWC"), ((0, 0), (4, 4))

    def convolve(x, kernel):
        return jaxconv.conv_general_dilated(x, kernel, (1, 1), pads, (2, 1), (1, 1), numbers)

    spread = np.zeros((1, 7, 3, 2))
    spread[:, ::2] = x
    expected = oracle.forward(spread, kernel, stride=(1, 1), padding=pads, dilation=(1, 1))
    assert_close(jax.jit(convolve)(x, kernel), expected, contraction=20)
    adjoint = kernel[::-1, ::-1].swapaxes(
        -1, -2
    )  # the same as a transposed convolution that crops one position
    options = {"stride": (2, 1), "padding": ((1, 1), (0, 0)), "algorithm": "direct"}
    assert_close(jaxconv.conv_transpose(x, adjoint, **options), expected, contraction=20)
