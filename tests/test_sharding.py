"""Eight CPU devices: shard_map with its varying-axes check, and jit of sharded arrays on both axis types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv.testing import assert_close
from tests import oracle

# Batch and channels that the mesh divides, everything else different from everything else.
X_SHAPE, KERNEL, GROUPED = (8, 9, 5, 4), (3, 2, 4, 6), (3, 2, 2, 6)
OPTIONS = dict(stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(1, 2))
TERMS = 500  # no contraction here is longer


def arrays(rng, groups=1):
    x, kernel = (
        rng.standard_normal(s).astype(np.float32) for s in (X_SHAPE, GROUPED if groups == 2 else KERNEL)
    )
    y = oracle.forward(x, kernel, **OPTIONS, groups=groups)
    return x, kernel, rng.standard_normal(y.shape).astype(np.float32)


def expected(x, kernel, g, groups=1):
    options = dict(OPTIONS, groups=groups)
    return (
        oracle.forward(x, kernel, **options),
        oracle.input_grad(g, kernel, x.shape, **options),
        oracle.weight_grad(x, g, kernel.shape, **options),
    )


def check(results, wanted):
    for label, got, want in zip(("forward", "input_grad", "weight_grad"), results, wanted, strict=True):
        assert_close(got, want, contraction=TERMS, label=label)


def value_and_grads(x, kernel, g, groups=1):
    """The three operators as autodiff reaches them: y, and the cotangents of x and kernel for g."""
    y, pull = jax.vjp(lambda x, kernel: jaxconv.conv(x, kernel, **OPTIONS, groups=groups), x, kernel)
    return y, *pull(g)


def test_there_are_eight_devices():
    assert jax.device_count() == 8


# shard_map


def put(mesh, arrays, specs):
    return [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)]


def run_sharded(fn, in_specs, out_specs, mesh, *args):
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=True)
    return jax.jit(mapped)(*put(mesh, args, in_specs))


kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)


@kinds
@pytest.mark.parametrize("groups", [1, 2])
def test_batch_sharded_kernel_replicated(groups, kind, rng):
    """The kernel's gradient inside shard_map is the sum over all shards; the caller writes no psum."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    x, kernel, g = arrays(rng, groups)
    data = P("data")
    fn = lambda *a: value_and_grads(*a, groups)  # noqa: E731
    check(
        run_sharded(fn, (data, P(), data), (data, data, P()), mesh, x, kernel, g),
        expected(x, kernel, g, groups),
    )


def test_gradient_taken_outside(rng):
    """The transpose of shard_map itself, through a psum'd loss."""
    mesh = jax.make_mesh((8,), ("data",))
    host = arrays(rng)
    specs = (P("data"), P(), P("data"))

    def loss(x, kernel, g):
        return lax.psum(jnp.sum(jaxconv.conv(x, kernel, **OPTIONS) * g), "data")

    sharded = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=P())
    grads = jax.jit(jax.grad(sharded, (0, 1)))(*put(mesh, host, specs))
    for got, want in zip(grads, expected(*host)[1:], strict=True):
        assert_close(got, want, contraction=TERMS)


@kinds
def test_output_channels_sharded(kind, rng):
    """x is the same everywhere and its gradient the sum over the shards of the kernel."""
    mesh = jax.make_mesh((2,), ("model",), axis_types=(kind,), devices=jax.devices()[:2])
    host = arrays(rng)
    channels = P(None, None, None, "model")
    specs = (P(), channels, channels), (channels, P(), channels)
    check(run_sharded(value_and_grads, *specs, mesh, *host), expected(*host))


def test_input_channels_sharded(rng):
    """Each shard convolves its channels; the caller adds up."""
    mesh = jax.make_mesh((4,), ("model",), devices=jax.devices()[:4])
    host = arrays(rng)

    def fn(x, kernel, g):
        y, X, W = value_and_grads(x, kernel, lax.pcast(g, "model", to="varying"))
        return lax.psum(y, "model"), X, W

    data, rows = P(None, None, None, "model"), P(None, None, "model")
    check(run_sharded(fn, (data, rows, P()), (P(), data, rows), mesh, *host), expected(*host))


def test_batch_and_channels_on_two_axes(rng):
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    host = arrays(rng)
    out, channels = P("data", None, None, "model"), P(None, None, None, "model")
    specs = (P("data"), channels, out), (out, P("data"), channels)
    check(run_sharded(value_and_grads, *specs, mesh, *host), expected(*host))


def test_operators_by_name_and_transposed_gradients(rng):
    mesh = jax.make_mesh((8,), ("data",))
    host = arrays(rng)
    y, X, W = expected(*host)

    def fn(x, kernel, g):
        by_name = jaxconv.conv_input_grad(g, kernel, x.shape, **OPTIONS)
        partial = jaxconv.conv_weight_grad(x, g, kernel.shape, **OPTIONS)
        size = x.shape[1:-1]
        back = lambda g, kernel: jaxconv.conv_transpose(g, kernel, output_shape=size, **OPTIONS)  # noqa: E731
        transposed, pull = jax.vjp(back, g, kernel)
        return by_name, lax.psum(partial, "data"), transposed, *pull(x)

    data = P("data")
    results = run_sharded(fn, (data, P(), data), (data, P(), data, data, P()), mesh, *host)
    # The cotangent of the transposed convolution was x itself.
    wanted = (X, W, X, y, oracle.weight_grad(host[0], host[2], KERNEL, **OPTIONS, groups=1))
    for got, want in zip(results, wanted, strict=True):
        assert_close(got, want, contraction=TERMS)


def test_forward_mode_vmap_and_scan_in_shard_map(rng):
    mesh = jax.make_mesh((8,), ("data",))
    x, kernel, _ = arrays(rng)
    kernels = np.stack([kernel, -2 * kernel, kernel[::-1]])

    def fn(x, kernel, kernels):
        conv = lambda x, kernel: jaxconv.conv(x, kernel, **OPTIONS)  # noqa: E731
        _, tangent = jax.jvp(conv, (x, kernel), (x, kernel))
        mapped = jax.vmap(conv, in_axes=(None, 0))(x, kernels)
        _, scanned = lax.scan(lambda c, k: (c, conv(x, k)), 0, kernels)
        return tangent, mapped, scanned

    stacked = P(None, "data")
    specs = (P("data"), P(), P()), (P("data"), stacked, stacked)
    tangent, mapped, scanned = run_sharded(fn, *specs, mesh, x, kernel, kernels)
    want = np.stack([oracle.forward(x, k, **OPTIONS) for k in kernels])
    assert_close(tangent, 2 * want[0], contraction=TERMS)
    assert_close(mapped, want, contraction=TERMS)
    assert_close(scanned, want, contraction=TERMS)


def folded_and_circular(x, kernel, g):
    """The functions that are the transpose of something written with gathers and pads."""
    options = dict(stride=(1, 1), padding=((1, 1), (0, 1)), padding_mode="circular")
    folded = jaxconv.fold(jaxconv.unfold(x, (3, 2)), x.shape[1:-1], (3, 2))
    back = jaxconv.conv_transpose(g, kernel, **options)
    return folded, back, jaxconv.conv_input_grad(g, kernel, back.shape, **options)


def test_fold_and_circular_transposed_in_shard_map(rng):
    mesh = jax.make_mesh((8,), ("data",))
    host = arrays(rng)
    data = P("data")
    results = run_sharded(folded_and_circular, (data, P(), data), (data, data, data), mesh, *host)
    for got, want in zip(results, folded_and_circular(*host), strict=True):
        assert_close(got, want, contraction=TERMS)


# jit of sharded arrays. What is sharded, by name of the layout: x, kernel, y.

LAYOUTS = {
    "batch": (P("data"), P(), P("data")),
    "batch over all": (P(("data", "model")), P(), P(("data", "model"))),
    "output channels": (P(), P(None, None, None, "model"), P(None, None, None, "model")),
    "input channels": (P(None, None, None, "model"), P(None, None, "model"), P()),
    "batch and output channels": (P("data"), P(None, None, None, "model"), P("data", None, None, "model")),
    "batch and input channels": (P("data", None, None, "model"), P(None, None, "model"), P("data")),
}


def make(kind):
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))


def full(spec):
    """A spec with its trailing Nones, as types print them."""
    return tuple(spec) + (None,) * (4 - len(spec))


@kinds
@pytest.mark.parametrize("layout", LAYOUTS)
def test_jit_of_sharded_arrays(layout, kind, rng):
    mesh = make(kind)
    host = arrays(rng)
    with jax.set_mesh(mesh):
        x, kernel, g = put(mesh, host, LAYOUTS[layout])
        results = jax.jit(value_and_grads)(x, kernel, g)
    check(results, expected(*host))
    if kind == AxisType.Explicit:  # the result is sharded as its type says, cotangents as their primals
        specs = [tuple(r.sharding.spec) for r in results]
        assert specs == [full(LAYOUTS[layout][i]) for i in (2, 0, 1)]


@kinds
def test_eager_calls_of_sharded_arrays(kind, rng):
    mesh = make(kind)
    host = arrays(rng)
    with jax.set_mesh(mesh):
        x, kernel, g = put(mesh, host, LAYOUTS["batch"])
        X = jaxconv.conv_input_grad(g, kernel, x.shape, **OPTIONS)
        W = jaxconv.conv_weight_grad(x, g, kernel.shape, **OPTIONS)
        T = jaxconv.conv_transpose(g, kernel, output_shape=x.shape[1:-1], **OPTIONS)
        check((jaxconv.conv(x, kernel, **OPTIONS), X, W), expected(*host))
    assert_close(T, X)


@kinds
def test_fold_and_circular_transposed_of_sharded_arrays(kind, rng):
    mesh = make(kind)
    host = arrays(rng)
    with jax.set_mesh(mesh):
        results = jax.jit(folded_and_circular)(*put(mesh, host, LAYOUTS["batch"]))
    for got, want in zip(results, folded_and_circular(*host), strict=True):
        assert_close(got, want, contraction=TERMS)


@kinds
def test_grouped_with_a_sharded_batch(kind, rng):
    mesh = make(kind)
    host = arrays(rng, groups=2)
    with jax.set_mesh(mesh):
        x, kernel, g = put(mesh, host, LAYOUTS["batch"])
        results = jax.jit(lambda *a: value_and_grads(*a, groups=2))(x, kernel, g)
    check(results, expected(*host, groups=2))


@kinds
def test_second_derivative_of_sharded_arrays(kind, rng):
    """Hessian-vector product of a nonlinear loss: every operator under every rule."""
    mesh = make(kind)
    host = arrays(rng)

    def product(x, kernel):
        loss = lambda kernel: jnp.sum(jnp.tanh(0.1 * jaxconv.conv(x, kernel, **OPTIONS)))  # noqa: E731
        return jax.jvp(jax.grad(loss), (kernel,), (kernel,))[1]

    want = jax.jit(product)(*host[:2])
    with jax.set_mesh(mesh):
        x, kernel, _ = put(mesh, host, LAYOUTS["batch and output channels"])
        got = jax.jit(product)(x, kernel)
    assert_close(got, want, contraction=TERMS)


@kinds
def test_ensemble_on_a_sharded_batch(kind, rng):
    """A mapped kernel beside a batch-sharded x."""
    mesh = make(kind)
    host = arrays(rng)
    kernels = np.stack([host[1], -2 * host[1], host[1][::-1]])
    conv = lambda x, kernel: jaxconv.conv(x, kernel, **OPTIONS)  # noqa: E731
    with jax.set_mesh(mesh):
        x, stack = put(mesh, (host[0], kernels), (P("data"), P()))
        got = jax.jit(jax.vmap(conv, in_axes=(None, 0)))(x, stack)
    want = np.stack([oracle.forward(host[0], k, **OPTIONS) for k in kernels])
    assert_close(got, want, contraction=TERMS)


LIMIT = (
    "the mapped axis becomes a sharded group axis, which lax's convolution refuses on Explicit axes as well"
)


@pytest.mark.parametrize(
    "kind", [AxisType.Auto, pytest.param(AxisType.Explicit, marks=pytest.mark.xfail(reason=LIMIT))], ids=str
)
def test_per_example_gradients_along_a_sharded_batch(kind, rng):
    mesh = make(kind)
    host = arrays(rng)
    with jax.set_mesh(mesh):
        x, kernel, g = put(mesh, host, LAYOUTS["batch"])
        pull = lambda x, g: jax.vjp(lambda k: jaxconv.conv(x, k, **OPTIONS), kernel)[1](g)[0]  # noqa: E731
        got = jax.jit(jax.vmap(pull))(x, g)
    pairs = [(host[0][i : i + 1], host[2][i : i + 1]) for i in range(8)]
    want = np.stack([oracle.weight_grad(a, b, KERNEL, **OPTIONS) for a, b in pairs])
    assert_close(got, want, contraction=TERMS)


@kinds
def test_training_steps_in_a_scan(kind, rng):
    """Data-parallel gradient descent under one jit: the replicated kernel stays replicated and equal."""
    mesh = make(kind)
    host = arrays(rng)

    def train(x, kernel, target):
        def step(kernel, _):
            loss = lambda kernel: jnp.mean((jaxconv.conv(x, kernel, **OPTIONS) - target) ** 2)  # noqa: E731
            value, gradient = jax.value_and_grad(loss)(kernel)
            return kernel - 0.1 * gradient, value

        return lax.scan(step, kernel, None, length=3)

    want, losses = jax.jit(train)(*host)
    assert losses[2] < losses[0]
    with jax.set_mesh(mesh):
        got, _ = jax.jit(train)(*put(mesh, host, LAYOUTS["batch"]))
    assert_close(got, want, contraction=TERMS)
    assert got.sharding.is_fully_replicated


def test_sharded_space_on_auto_axes(rng):
    """The compiler exchanges the borders."""
    mesh = jax.make_mesh((3,), ("space",), axis_types=(AxisType.Auto,), devices=jax.devices()[:3])
    host = arrays(rng)
    with jax.set_mesh(mesh):
        x, kernel, g = put(mesh, host, (P(None, "space"), P(), P()))
        check(jax.jit(value_and_grads)(x, kernel, g), expected(*host))


def test_sharded_space_on_explicit_axes_is_refused(rng):
    mesh = jax.make_mesh((3,), ("space",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:3])
    host = arrays(rng)
    with jax.set_mesh(mesh):
        x, kernel, _ = put(mesh, host, (P(None, "space"), P(), P()))
        with pytest.raises(ValueError, match="sharded"):
            jax.jit(lambda x, kernel: jaxconv.conv(x, kernel, **OPTIONS))(x, kernel)
