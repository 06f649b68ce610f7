"""`resize` against weights written down one at a time in float64, and what else it promises."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from PIL import Image

import jaxconv
from jaxconv.geometry.resample import Resample
from jaxconv.ops.resample_weights import dense, taps
from jaxconv.testing import assert_close, check_grads


def kernel(method, t, a):
    t = abs(t)
    if method == "linear":
        return max(0.0, 1 - t)
    if method == "cubic":  # Keys 1981, equation 4 with a left open
        if t < 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0
    radius = int(method[-1])
    if t == 0:
        return 1.0
    pi = math.pi
    return radius * math.sin(pi * t) * math.sin(pi * t / radius) / (pi * t) ** 2 if t < radius else 0.0


def oracle_matrix(n, m, method, step, *, corners=False, antialias=False, a=-0.75, border="replicate"):
    """Row o holds the weights of output o."""
    matrix = np.zeros((m, n))
    for o in range(m):
        if method == "area":
            inside = [
                i for i in range(n) if Fraction(i + 1) > Fraction(o * n, m) and i < Fraction((o + 1) * n, m)
            ]
            matrix[o, inside] = 1 / len(inside)
            continue
        if method.startswith("nearest"):
            matrix[o, min(int((o + (0.5 if method.endswith("exact") else 0)) * step), n - 1)] = 1
            continue
        stretch = max(1, step) if antialias else 1
        u = o * step if corners else (o + 0.5) * step - 0.5
        reach = math.ceil(6 * stretch) + 1
        total = 0.0
        for i in range(math.floor(u) - reach, math.ceil(u) + reach + 1):
            w = kernel(method, (i - u) / stretch, a)
            j = i
            if border == "renormalize" and not 0 <= i < n:
                continue
            if border == "replicate":
                j = min(max(i, 0), n - 1)
            while border == "symmetric" and not 0 <= j < n:
                j = -1 - j if j < 0 else 2 * n - 1 - j
            matrix[o, j] += w
            total += w
        matrix[o] /= total
    return matrix


def oracle(x, axes):
    for axis, matrix in axes.items():
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


KEYS = {"cubic_a": -0.5, "border": "renormalize"}
MATLAB = {"antialias": True, "border": "symmetric", "rounding": "ceil"}
# Method, sizes before and after or scale, options.
CASES = [
    ("nearest", (7, 5), {"size": (4, 13)}, {}),
    ("nearest-exact", (7, 5), {"scale": (0.55, 2.3)}, {}),
    ("area", (9, 4, 5), {"size": (4, 6, 5)}, {}),
    ("linear", (6,), {"scale": (2.5,)}, {}),
    ("linear", (5, 8), {"size": (11, 3)}, {"align_corners": True}),
    ("linear", (3, 4, 2), {"scale": 2}, {}),
    ("linear", (16, 9), {"size": (3, 5)}, {"antialias": True}),
    ("linear", (7, 9), {"size": (3, 20)}, {"antialias": True, "border": "symmetric"}),
    ("linear", (2, 3, 2, 3), {"size": (3, 4, 3, 2)}, {}),
    ("cubic", (5, 9), {"size": (12, 4)}, {}),
    ("cubic", (5, 9), {"size": (12, 4)}, {"align_corners": True}),
    ("cubic", (5, 9), {"scale": (1.8, 0.7)}, KEYS),
    ("cubic", (17, 6), {"size": (5, 8)}, {"antialias": True}),
    ("cubic", (13, 3), {"scale": (Fraction(1, 3), Fraction(4, 3))}, MATLAB),
    ("lanczos3", (6, 19), {"size": (13, 5)}, {"antialias": True}),
    ("lanczos3", (6, 9), {"size": (13, 5)}, {"border": "renormalize"}),
    ("lanczos5", (8, 23), {"size": (9, 6)}, {"antialias": True}),
]


def wanted(case):
    """Sizes and oracle matrices of a case."""
    method, before, how, options = case
    options = dict(options)
    round_ = math.ceil if options.pop("rounding", "floor") == "ceil" else math.floor
    corners, aa = options.pop("align_corners", False), options.get("antialias", False)
    scale = how.get("scale", [None] * len(before))
    scale = [scale] * len(before) if isinstance(scale, int) else scale
    after = how.get("size") or tuple(round_(n * s) for n, s in zip(before, scale, strict=True))
    a = options.pop("cubic_a", -0.5 if aa else -0.75)
    border = options.pop("border", "renormalize" if aa else "replicate")
    matrices = []
    for n, m, s in zip(before, after, scale, strict=True):
        step = (n - 1) / max(m - 1, 1) if corners else n / m if s is None else float(1 / s)
        matrices.append(oracle_matrix(n, m, method, step, corners=corners, a=a, border=border, antialias=aa))
    return after, matrices


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_both_derivatives(case, layout, rng):
    method, before, how, options = case
    after, matrices = wanted(case)
    first = 1 if layout == "channels_last" else 2
    axes = {first + i: matrix for i, matrix in enumerate(matrices)}

    def draw(sizes):
        shape = (2, *sizes, 3) if layout == "channels_last" else (2, 3, *sizes)
        return rng.normal(size=shape).astype(np.float32)

    x, t, g = draw(before), draw(before), draw(after)

    @jax.jit
    def all_of(x, t, g):
        def function(x):
            return jaxconv.resize(x, method=method, layout=layout, **how, **options)

        y, dy = jax.jvp(function, (x,), (t,))
        return y, dy, jax.vjp(function, x)[1](g)[0]

    y, dy, dx = all_of(x, t, g)
    transposed = {axis: matrix.T for axis, matrix in axes.items()}
    for label, got, array, by in (("y", y, x, axes), ("dy", dy, t, axes), ("dx", dx, g, transposed)):
        scale = oracle(np.abs(array, dtype=np.float64), {k: np.abs(m) for k, m in by.items()})
        contraction = math.prod(int((m != 0).sum(1).max()) for m in by.values())
        # The weights are rounded, too, along each axis.
        assert_close(
            got, oracle(array.astype(float), by), contraction=contraction, scale=2 * scale, label=label
        )


def test_the_oracle_can_fail():
    after, matrices = wanted(CASES[9])
    x = np.arange(45.0).reshape(1, 5, 9, 1) % 7
    good = oracle(x, dict(enumerate(matrices, 1)))
    y = jaxconv.resize(jnp.float32(x), size=after, method="cubic", cubic_a=-0.7)
    with pytest.raises(AssertionError, match="differ"):
        assert_close(y, good, contraction=16)


@pytest.mark.parametrize("name", ["nearest", "linear", "cubic", "lanczos3", "lanczos5"])
def test_is_jax_image_resize(name, rng):
    x = jnp.asarray(rng.normal(size=(2, 9, 7, 3)), jnp.float32)
    ours = {"nearest": "nearest-exact"}.get(name, name)
    for antialias in (False, True):
        options = (
            {} if name == "nearest" else {"antialias": antialias, "border": "renormalize", "cubic_a": -0.5}
        )
        for size in ((4, 16), (18, 5)):
            theirs = jax.image.resize(x, (2, *size, 3), name, antialias=antialias)
            assert_close(jaxconv.resize(x, size=size, method=ours, **options), theirs, contraction=100)


@pytest.mark.parametrize(
    ("method", "theirs"),
    [("linear", "BILINEAR"), ("cubic", "BICUBIC"), ("lanczos3", "LANCZOS"), ("nearest-exact", "NEAREST")],
)
def test_is_pillows_resize(method, theirs, rng):
    x = rng.normal(size=(13, 10)).astype(np.float32)
    options = {} if method == "nearest-exact" else {"antialias": True}
    for height, width in ((5, 17), (20, 4)):
        wanted = np.asarray(Image.fromarray(x).resize((width, height), getattr(Image.Resampling, theirs)))
        y = jaxconv.resize(x[..., None], size=(height, width), method=method, **options)[..., 0]
        assert_close(y, wanted, contraction=144)


def test_derivatives_of_second_order_vmap_and_scan(rng):
    x = jnp.asarray(rng.normal(size=(4, 3, 2, 5, 2)), jnp.float32)

    def energy(x):
        return jnp.square(jaxconv.resize(x, size=(4, 3), method="cubic")).sum()

    check_grads(energy, (x[0],), order=2)

    def scaled(x):
        return jaxconv.resize(x, scale=(1.5, 0.8), method="cubic")

    plain = scaled(x)
    for axis in (0, 1):
        moved = jax.vmap(scaled, in_axes=axis, out_axes=-1)(x)
        np.testing.assert_allclose(jnp.moveaxis(moved, -1, axis), plain, rtol=1e-6, atol=1e-6)
    behind = jax.vmap(lambda x: jaxconv.resize(x, size=(3,)), in_axes=-1, out_axes=-1)(x[0, 0])
    in_turn = [jaxconv.resize(x[0, 0, ..., c], size=(3,)) for c in range(2)]
    np.testing.assert_allclose(behind, jnp.stack(in_turn, axis=-1), rtol=1e-6, atol=1e-6)
    _, scanned = jax.lax.scan(lambda carry, x: (carry, scaled(x)), 0, x)
    np.testing.assert_allclose(scanned, plain, rtol=1e-6, atol=1e-6)


def test_dtypes(rng):
    x = rng.normal(size=(40, 3))
    exact = np.asarray(jaxconv.resize(jnp.float32(x), size=(9,), method="cubic", antialias=True))
    for dtype in (jnp.bfloat16, jnp.float16):
        low = jnp.asarray(x, dtype)
        y = jaxconv.resize(low, size=(9,), method="cubic", antialias=True)
        assert y.dtype == dtype
        wide = jaxconv.resize(low.astype(jnp.float32), size=(9,), method="cubic", antialias=True)
        np.testing.assert_array_equal(y, wide.astype(dtype))  # summed in float32, rounded once
        assert_close(y, exact, contraction=20)
    z = jnp.asarray(x[:20] + 1j * x[20:], jnp.complex64)
    y = jaxconv.resize(z, size=(7,))
    parts = [jaxconv.resize(part, size=(7,)) for part in (z.real, z.imag)]
    np.testing.assert_allclose(y, parts[0] + 1j * parts[1], rtol=1e-6)
    labels = jnp.arange(12, dtype=jnp.uint8).reshape(1, 3, 4, 1)
    y = jaxconv.resize(labels, scale=2, method="nearest")
    np.testing.assert_array_equal(y, np.asarray(labels).repeat(2, 1).repeat(2, 2))
    assert y.dtype == jnp.uint8
    assert jaxconv.resize(labels > 3, scale=2, method="nearest-exact").dtype == bool
    with jax.enable_x64(True):
        y = jaxconv.resize(jnp.asarray(x), size=(9,), method="cubic", antialias=True)
        matrix = oracle_matrix(40, 9, "cubic", 40 / 9, antialias=True, a=-0.5, border="renormalize")
        np.testing.assert_allclose(y, matrix @ x, rtol=0, atol=1e-13)


def test_every_formulation_computes_the_matrix(rng):
    """The loop over taps, the product with the matrix for thin arrays and for many taps, and copies."""
    for n, m, inner, how in (
        (300, 200, 5, {}),
        (300, 200, 2, {}),
        (30, 40, 2, {}),
        (700, 20, 7, {"antialias": True}),
    ):
        x = rng.normal(size=(2, n, inner)).astype(np.float32)
        g = rng.normal(size=(2, m, inner)).astype(np.float32)
        border = "renormalize" if how else "replicate"
        matrix = oracle_matrix(n, m, "linear", n / m, border=border, **how)
        y, pull = jax.vjp(lambda x, m=m, how=how: jaxconv.resize(x, size=(m,), **how), x)
        assert_close(y, np.einsum("on,bnc->boc", matrix, x.astype(float)), contraction=2 * n // m + 4)
        assert_close(
            pull(g)[0], np.einsum("on,boc->bnc", matrix, g.astype(float)), contraction=2 * m // n + 4
        )
    for n, m in ((6, 18), (18, 6), (7, 5)):
        x = rng.normal(size=(1, n, 2)).astype(np.float32)
        index = [int(o * n / m) for o in range(m)]
        np.testing.assert_array_equal(jaxconv.resize(x, size=m, method="nearest"), x[:, index])


def test_taps_and_their_transpose_are_one_matrix():
    for axis in (
        Resample(9, 4, "cubic", antialias=True, border="symmetric"),
        Resample(3, 8, "lanczos3", border="renormalize"),
        Resample(9, 4, "nearest"),
    ):
        for transposed in (False, True):
            index, weight = taps(axis, transposed)
            rows, columns = (axis.size, axis.out) if transposed else (axis.out, axis.size)
            matrix = np.zeros((rows, columns))
            np.add.at(matrix, (np.arange(rows)[:, None], index), 1.0 if weight is None else weight)
            np.testing.assert_array_equal(matrix, dense(axis, transposed))


def test_other_platforms_get_matrix_products_and_any_batch():
    exported = jax.export.export(
        jax.jit(lambda x: jaxconv.resize(x, scale=(2, 2))), platforms=["tpu", "cuda"]
    )
    batch = jax.export.symbolic_shape("b")
    module = exported(jax.ShapeDtypeStruct((*batch, 5, 4, 3), jnp.float32)).mlir_module()
    assert "dot_general" in module
    assert "gather" not in module


def test_sharded_batches_stay_sharded(rng):
    x = jnp.asarray(rng.normal(size=(8, 4, 3, 2)), jnp.float32)
    plain = jaxconv.resize(x, scale=2)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        y = jaxconv.resize(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))), scale=2)
        assert jax.typeof(y).sharding.spec[0] == "data"
        tall = jax.device_put(jnp.zeros((2, 8, 3, 2)), NamedSharding(mesh, PartitionSpec(None, "data")))
        with pytest.raises(ValueError, match="needs axis 1 whole"):
            jaxconv.resize(tall, scale=2)
    np.testing.assert_allclose(y, plain, rtol=1e-6)
    manual = jax.shard_map(
        lambda x: jaxconv.resize(x, scale=2),
        mesh=jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,)),
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec("data"),
    )
    np.testing.assert_allclose(jax.jit(manual)(x), plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 4, 4, 1), {}, "size=None and scale=None: give exactly one"),
        ((2, 4, 4, 1), {"size": 2, "scale": 2}, "give exactly one"),
        ((2, 4, 4, 1), {"size": (2, 2, 2, 2)}, "does not go with x of shape"),
        ((4, 1), {"size": 2}, "does not go with x of shape"),
        ((2, 4, 4, 1), {"size": (2.5, 2)}, "must hold integers"),
        ((2, 4, 4, 1), {"size": (0, 2)}, "resizing 4 positions to 0 is impossible"),
        ((2, 0, 4, 1), {"size": (2, 2)}, "resizing 0 positions to 2 is impossible"),
        ((2, 4, 4, 1), {"scale": 0.2}, "resizing 4 positions to 0 is impossible"),
        ((2, 4, 4, 1), {"scale": -1.0}, "scale=-1.0 must be a positive number"),
        ((2, 4, 4, 1), {"scale": (2, "3")}, "must be a positive number"),
        ((2, 4, 4, 1), {"scale": math.inf}, "must be a positive number"),
        (
            (2, 4, 4, 1),
            {"size": 2, "method": "bilinear"},
            "method='bilinear' is not known; use one of .*'linear'",
        ),
        ((2, 4, 4, 1), {"size": 2, "border": "reflect"}, "border='reflect' is not known; .*'symmetric'"),
        ((2, 4, 4, 1), {"size": 2, "rounding": "round"}, "rounding='round' is not known"),
        ((2, 4, 4, 1), {"size": 2, "layout": "NHWC"}, "layout='NHWC' is not known"),
        ((2, 4, 4, 1), {"size": 2, "method": "nearest", "align_corners": True}, "has no kernel"),
        ((2, 4, 4, 1), {"size": 2, "method": "area", "antialias": True}, "has no kernel"),
    ],
)
def test_says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x: jaxconv.resize(x, **options))(jnp.zeros(shape))


@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_refuses_to_average_integers(dtype):
    with pytest.raises(ValueError, match=f"x has dtype {dtype}.*cast it to a floating dtype"):
        jaxconv.resize(np.zeros((1, 4, 4, 1), dtype), scale=2)


def test_nothing_is_done_where_nothing_changes(rng):
    x = jnp.asarray(rng.normal(size=(1, 4, 5, 2)), jnp.float32)
    for method in ("nearest", "linear", "cubic", "area", "lanczos3"):
        assert jaxconv.resize(x, size=(4, 5), method=method) is x
    assert jaxconv.resize(jnp.zeros((0, 4, 5, 2)), scale=2).shape == (0, 8, 10, 2)
    assert isinstance(jaxconv.resize(np.asarray(x), size=(4, 5)), jax.Array)
