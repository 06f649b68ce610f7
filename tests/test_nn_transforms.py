"""NNX's transformations, splitting, training, and checkpoints of a network that has every layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv import nn
from jaxconv.testing import assert_close


class Net(nnx.Module):
    """Every layer once: 8 x 6 x 3 becomes 8 x 6 x 2."""

    def __init__(self, rngs: nnx.Rngs):
        shared = {"bias_init": nnx.initializers.normal(0.1), "rngs": rngs}
        self.layers = nnx.List(
            [
                nn.Conv(3, 4, (3, 2), 2, padding="REFLECT", **shared),
                nn.ConvTranspose(4, 6, (4, 2), (2, 1), feature_group_count=2, **shared),
                nn.DepthwiseConv(6, (3, 3), (2, 1), **shared),
                nn.SubpixelConv(6, 2, (1, 3), 2, **shared),
                nn.CausalConv(2, 4, (3, 3), 2, **shared),
                nn.CausalConvTranspose(4, 4, (4, 2), 2, **shared),
                nn.SeparableConv(4, 4, (3, 3), (2, 2), **shared),
                nn.ResizeConv(4, 2, (3, 3), 2, **shared),
            ]
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


@pytest.fixture
def net() -> Net:
    return Net(nnx.Rngs(0))


@pytest.fixture
def x(rng) -> jax.Array:
    return jnp.asarray(rng.normal(size=(2, 8, 6, 3)), jnp.float32)


def test_jit_and_grad(net, x):
    @nnx.jit
    def value_and_grad(net, x):
        return nnx.value_and_grad(lambda net: jnp.sum(net(x) ** 2))(net)

    value, grads = value_and_grad(net, x)
    assert net(x).shape == (2, 8, 6, 2)
    assert_close(value, jnp.sum(net(x) ** 2), contraction=1000)
    assert jax.tree.structure(grads) == jax.tree.structure(nnx.state(net, nnx.Param))
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.any(np.asarray(leaf)), path


def test_split_and_merge(net, x):
    graph, params = nnx.split(net)
    assert hash(graph) == hash(nnx.graphdef(Net(nnx.Rngs(7))))  # jit's key: no arrays in it
    doubled = jax.tree.map(lambda p: 2 * p, params)
    assert not np.allclose(nnx.merge(graph, doubled)(x), net(x))
    np.testing.assert_array_equal(nnx.merge(graph, params)(x), net(x))


@pytest.mark.parametrize("kind", [nn.Conv, nn.ConvTranspose])
def test_lists_are_as_good_as_tuples(kind):
    options = {"padding": [[1, 0], [0, 1]], "kernel_dilation": [1, 2], "rngs": nnx.Rngs(0)}
    layer = kind(3, 4, [4, 2], [2, 1], **options)
    hash(nnx.graphdef(layer))
    assert (layer.kernel_size, layer.strides, layer.padding) == ((4, 2), (2, 1), ((1, 0), (0, 1)))


def test_training_reduces_the_loss(net, x):
    optimizer = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)
    target = jnp.sin(x[..., :2])

    @nnx.jit
    def step(net, optimizer):
        loss, grads = nnx.value_and_grad(lambda net: jnp.mean((net(x) - target) ** 2))(net)
        optimizer.update(net, grads)
        return loss

    losses = [float(step(net, optimizer)) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_vmap_makes_and_runs_an_ensemble(rng):
    def make(rngs):
        return nn.ConvTranspose(3, 4, (4, 2), 2, bias_init=nnx.initializers.normal(1.0), rngs=rngs)

    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)), jnp.float32)
    keys = nnx.Rngs(0).split(3)
    ensemble = nnx.vmap(make)(keys)
    assert ensemble.kernel.shape == (3, 4, 2, 4, 3)
    y = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(ensemble, x)
    graph, state = nnx.split(ensemble)
    for i in range(3):
        one = nnx.merge(graph, jax.tree.map(lambda p, i=i: p[i], state))
        assert_close(y[i], one(x), contraction=24)
    assert np.std(y - y[:1]) > 0.1


def test_scan_over_layers(rng):
    def make(rngs):
        return nn.SeparableConv(4, 4, (3, 2), padding="CIRCULAR", rngs=rngs)

    x = jnp.asarray(rng.normal(size=(2, 5, 4, 4)), jnp.float32)
    stack = nnx.vmap(make)(nnx.Rngs(0).split(3))

    def loop(stack, x):
        graph, state = nnx.split(stack)
        for i in range(3):
            x = jnp.tanh(nnx.merge(graph, jax.tree.map(lambda p: p[i], state))(x))  # noqa: B023
        return x

    def scanned(stack, x):
        run = nnx.scan(
            nnx.remat(lambda x, layer: jnp.tanh(layer(x))), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
        )
        return run(x, stack)

    got, wanted = (
        nnx.value_and_grad(lambda stack, f=f: jnp.sum(f(stack, x) ** 3))(stack) for f in (scanned, loop)
    )
    assert_close(got[0], wanted[0], contraction=1000)
    jax.tree.map(lambda a, b: assert_close(a, b, contraction=1000), got[1], wanted[1])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_data_parallel(kind, net, rng):
    x = jnp.asarray(rng.normal(size=(8, 8, 6, 3)), jnp.float32)
    run = nnx.jit(lambda net, x: nnx.value_and_grad(lambda net: jnp.sum(net(x) ** 2))(net))
    wanted = run(net, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        state = jax.device_put(nnx.state(net), NamedSharding(mesh, PartitionSpec()))
        spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        got = run(nnx.merge(nnx.graphdef(net), state), spread)
    jax.tree.map(lambda a, b: assert_close(a, b, contraction=1000), got, wanted)


def test_orbax_saves_and_restores(net, x, tmp_path):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "net", nnx.state(net))
        checkpointer.wait_until_finished()
        graph, blank = nnx.split(nnx.eval_shape(lambda: Net(nnx.Rngs(1))))
        restored = nnx.merge(graph, checkpointer.restore(tmp_path / "net", blank))
    np.testing.assert_array_equal(restored(x), net(x))
    assert not np.array_equal(Net(nnx.Rngs(1))(x), net(x))


def test_eval_and_train_modes_and_repr_work(net):
    net.eval()
    net.train()
    assert "CausalConvTranspose(" in repr(net)
