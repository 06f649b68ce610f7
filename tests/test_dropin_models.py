"""Unchanged models of Flax, Haiku, Equinox and Keras under `install`: the same gradients, the same training.

Every model has a plain, a strided, a grouped, a dilated and a transposed convolution, in its library's own
layers and layout. It is trained with JAX's convolutions and with the planner's.
"""

import collections
import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jaxconv
from jaxconv.testing import assert_close
from tests.torch_cases import QUICKLY

STEPS, RATE = 10, 0.2
X_SHAPE = (2, 8, 6, 3)
X, KEY = jax.ShapeDtypeStruct(X_SHAPE, jnp.float32), jax.eval_shape(lambda: jax.random.key(0))
# The products that are summed on the way through the layers, the mean of the loss, and back to a parameter.
TERMS = 1500
# Of five layers: results, gradients of kernels, and gradients of inputs but the first.
CONVOLUTIONS = 5 + 5 + 4


class Model(NamedTuple):
    """A loss of parameters, x and y; parameters; whether x has its features after the batch."""

    predict: Callable[[Any, Any], Any]
    params: Any
    channels_first: bool = False

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal(X_SHAPE).astype(np.float32)
        x = np.moveaxis(x, -1, 1) if self.channels_first else x
        return x, rng.standard_normal(jax.eval_shape(self.predict, self.params, x).shape).astype(np.float32)

    def loss(self, params: Any, x: Any, y: Any) -> Any:
        return jnp.mean(jnp.square(self.predict(params, x) - y))


def drawn(params: Any) -> Any:
    """Parameters of the same shapes; the libraries' own initialisers take longer to compile than a step."""
    rng = np.random.default_rng(1)
    draw = lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, params)


def flax_nnx(**hook: Any) -> Model:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.plain = nnx.Conv(3, 6, (3, 2), rngs=rngs, **hook)
            self.strided = nnx.Conv(6, 8, (3, 3), strides=(2, 1), rngs=rngs, **hook)
            self.grouped = nnx.Conv(8, 8, (3, 2), feature_group_count=2, rngs=rngs, **hook)
            self.dilated = nnx.Conv(8, 6, (3, 3), kernel_dilation=2, padding="CIRCULAR", rngs=rngs, **hook)
            self.up = nnx.ConvTranspose(6, 4, (4, 4), strides=(2, 2), rngs=rngs)

        def __call__(self, x: Any) -> Any:
            for layer in (self.plain, self.strided, self.grouped, self.dilated):
                x = nnx.gelu(layer(x))
            return self.up(x)

    graph, params = nnx.split(nnx.eval_shape(lambda: Net(nnx.Rngs(0))), nnx.Param)
    return Model(lambda params, x: nnx.merge(graph, params)(x), drawn(params))


def flax_linen(**hook: Any) -> Model:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = linen.gelu(linen.Conv(6, (3, 2), **hook)(x))
            x = linen.gelu(linen.Conv(8, (3, 3), strides=(2, 1), **hook)(x))
            x = linen.gelu(linen.Conv(8, (3, 2), feature_group_count=8, padding="VALID", **hook)(x))
            x = linen.gelu(linen.Conv(6, (3, 3), kernel_dilation=(1, 2), **hook)(x))
            return linen.ConvTranspose(4, (4, 3), strides=(2, 1), transpose_kernel=True)(x)

    net = Net()
    return Model(net.apply, drawn(jax.eval_shape(net.init, KEY, X)))


def equinox() -> Model:
    eqx = pytest.importorskip("equinox", reason="the extra `models` has it")

    is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731

    def net(key: Any) -> Any:
        return eqx.nn.Sequential(
            [
                eqx.nn.Conv2d(3, 6, (3, 2), key=key),
                eqx.nn.Lambda(jax.nn.gelu),
                eqx.nn.Conv2d(6, 8, 3, stride=(2, 1), padding=1, key=key),
                eqx.nn.Lambda(jax.nn.gelu),
                eqx.nn.Conv2d(8, 8, (3, 2), padding=1, groups=4, key=key),
                eqx.nn.Lambda(jax.nn.gelu),
                eqx.nn.Conv2d(8, 6, 3, dilation=2, padding="SAME", key=key),
                eqx.nn.Lambda(jax.nn.gelu),
                eqx.nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, key=key),
            ]
        )

    params, rest = eqx.partition(eqx.filter_eval_shape(net, KEY), is_shape)
    return Model(lambda params, x: jax.vmap(eqx.combine(params, rest))(x), drawn(params), channels_first=True)


def haiku() -> Model:
    hk = pytest.importorskip("haiku", reason="the extra `models` has it")

    def net(x: Any) -> Any:
        x = jax.nn.gelu(hk.Conv2D(6, (3, 2))(x))
        x = jax.nn.gelu(hk.Conv2D(8, 3, stride=(2, 1))(x))
        x = jax.nn.gelu(hk.DepthwiseConv2D(1, (3, 2))(x))
        x = jax.nn.gelu(hk.Conv2D(6, 3, rate=2)(x))
        return hk.Conv2DTranspose(4, 4, stride=2)(x)

    pure = hk.without_apply_rng(hk.transform(net))
    return Model(pure.apply, drawn(jax.eval_shape(pure.init, KEY, X)))


@functools.cache
def import_keras() -> Any:
    """Keras on JAX: it asks the environment once, and writes its settings to a folder."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": folder})
        keras = pytest.importorskip("keras", reason="the extra `models` has it")
    assert keras.backend.backend() == "jax"
    return keras


def keras_net() -> Any:
    keras = import_keras()
    layers = keras.layers
    plain = {"padding": "same", "activation": "gelu", "kernel_initializer": "zeros"}
    net = keras.Sequential(
        [
            layers.Input(X_SHAPE[1:]),
            layers.Conv2D(6, (3, 2), **plain),
            layers.Conv2D(8, 3, (2, 1), **plain),
            layers.DepthwiseConv2D(3, padding="same", activation="gelu", depthwise_initializer="zeros"),
            layers.Conv2D(6, 3, dilation_rate=2, **plain),
            layers.Conv2DTranspose(4, 3, 2, padding="same", kernel_initializer="zeros"),
        ]
    )
    net.set_weights(drawn([variable.value for variable in net.weights]))
    return net


def keras() -> Model:
    net = keras_net()
    assert not net.non_trainable_variables
    params = [variable.value for variable in net.trainable_variables]
    return Model(lambda params, x: net.stateless_call(params, [], x)[0], params)


HOOK = {"conv_general_dilated": jaxconv.conv_general_dilated}
MODELS = {
    "flax nnx": flax_nnx,
    "flax linen": flax_linen,
    "equinox": equinox,
    "haiku": haiku,
    "keras": keras,
}
HOOKED = {"flax nnx": flax_nnx, "flax linen": flax_linen}


class Run(NamedTuple):
    """The losses of some steps, and the gradient of the first."""

    losses: list[float]
    gradient: Any


class Trial:
    """One training program, to be compiled under several settings."""

    def __init__(self, model: Model, loss: Any = None, rate: float = RATE) -> None:
        self.model, (self.x, self.y) = model, model.arrays()
        self.loss = loss or model.loss
        self.optimizer = optax.sgd(rate)
        self.start = model.params, self.optimizer.init(model.params)
        self.step = jax.jit(self._step, compiler_options=QUICKLY)

    def _step(self, params: Any, state: Any, x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(self.loss)(params, x, y)
        updates, state = self.optimizer.update(gradient, state)
        return loss, gradient, (optax.apply_updates(params, updates), state)

    def text(self) -> str:
        """The program, as XLA gets it."""
        return self.step.lower(*self.start, self.x, self.y).as_text()

    def run(self) -> Run:
        _, first, _ = self.step(*self.start, self.x, self.y)
        losses, at = [], self.start
        for _ in range(STEPS):
            loss, _, at = self.step(*at, self.x, self.y)
            losses.append(float(loss))
        return Run(losses, first)


@functools.cache
def stock(name: str) -> tuple[Trial, Run]:
    trial = Trial(MODELS[name]())
    return trial, trial.run()


def check_same(got: Run, wanted: Run) -> None:
    """Gradients of all parameters to their rounding, and losses to what it becomes.

    With a rounding error δ of the gradient, a step ends elsewhere by rate · δ · |gradient|, and descent on a
    falling loss doesn't drive two runs apart. So after t steps the parameters are t · rate · δ · |gradient|
    apart, and the losses |gradient| times that. A step gains about rate · |gradient|² / 2 and never more than
    the first loss: 2 t · δ times the first loss bounds it. The loss's own rounding comes on top.
    """
    leaves = jax.tree_util.tree_leaves_with_path(wanted.gradient)
    assert len(leaves) >= 9  # five kernels, and biases
    for (path, expected), actual in zip(leaves, jax.tree.leaves(got.gradient), strict=True):
        assert np.any(expected)
        assert_close(actual, expected, contraction=TERMS, label=jax.tree_util.keystr(path))
    assert all(later < earlier for earlier, later in zip(wanted.losses, wanted.losses[1:], strict=False))
    losses = [np.asarray(run.losses, np.float32) for run in (got, wanted)]
    growth = wanted.losses[0] * (1 + 2 * np.arange(STEPS))
    assert_close(*losses, contraction=TERMS, scale=growth, label="losses")


each_library = pytest.mark.parametrize("name", MODELS)


@each_library
def test_installed(name: str) -> None:
    trial, wanted = stock(name)
    before = trial.text()
    with jaxconv.installed():
        check_same(trial.run(), wanted)
        assert trial.text() != before
    assert trial.text() == before
    jax.tree.map(np.testing.assert_array_equal, trial.run(), wanted)


@each_library
def test_plan_finds_all_convolutions(name: str) -> None:
    trial, _ = stock(name)
    plans = jaxconv.plan(jax.grad(trial.loss), trial.model.params, trial.x, trial.y)
    assert sum(p.count for p in plans if p.by == "lax") == CONVOLUTIONS
    assert {p.by for p in plans} == {"lax"}
    chosen = {c.name for p in plans for c in p.plan.candidates if c.chosen}
    assert chosen > {"direct"}


@pytest.mark.parametrize("name", ["flax nnx", "equinox"])
def test_accelerated_loss(name: str) -> None:
    plain, wanted = stock(name)
    trial = Trial(plain.model, jaxconv.accelerate(plain.loss))
    check_same(trial.run(), wanted)
    assert 'jaxconv = "planned"' in trial.text()
    assert "jaxconv" not in plain.text()


@pytest.mark.parametrize("name", HOOKED)
def test_hook_of_flax(name: str) -> None:
    """`Conv(conv_general_dilated=...)`; the transposed layer has no such parameter."""
    _, wanted = stock(name)
    trial = Trial(HOOKED[name](**HOOK))
    check_same(trial.run(), wanted)
    plans = jaxconv.plan(jax.grad(trial.loss), trial.model.params, trial.x, trial.y)
    count = collections.Counter()
    for p in plans:
        count[p.by] += p.count
    assert count == {"jaxconv": CONVOLUTIONS - 3, "lax": 3}


def test_fit_of_keras() -> None:
    """Keras compiles its own step, with its own optimiser, when `fit` is called."""
    keras, (x, y) = import_keras(), stock("keras")[0].model.arrays()

    def losses() -> list[float]:
        net = keras_net()
        net.compile(keras.optimizers.SGD(RATE), "mse")
        return net.fit(x, y, batch_size=len(x), epochs=STEPS, shuffle=False, verbose=0).history["loss"]

    wanted = stock("keras")[1]
    with jaxconv.installed():
        check_same(Run(losses(), wanted.gradient), wanted)


def test_the_check_refuses_other_losses_and_gradients() -> None:
    trial, wanted = stock("flax linen")
    with pytest.raises(AssertionError, match="losses"):
        check_same(Trial(trial.model, rate=1.01 * RATE).run(), wanted)
    off = jax.tree.map(lambda leaf: leaf * 1.0001, wanted.gradient)
    with pytest.raises(AssertionError, match="params"):
        check_same(Run(wanted.losses, off), wanted)
