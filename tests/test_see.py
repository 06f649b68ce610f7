"""Backward passes with other rules for rectifiers, and Grad-CAM: one by hand against five forms of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv.explain import see
from tests.see_nets import NETS, image
from tests.see_oracle import FIRST, SECOND, Network, Weights, conv_back, rectify_back, unpool

RULES = {"gradient": see.gradient, "deconvnet": see.deconvnet, "guided": see.guided_backprop}
# Sums of at most 3 * 3 * 4 products, four layers deep, beside values around one.
TOLERANCE = 4 * 36**0.5 * float(np.finfo(np.float32).eps)


def close(got: object, wanted: np.ndarray) -> None:
    got = np.asarray(got)
    assert got.shape == wanted.shape
    assert np.abs(wanted).max() > 0  # a signal that has died would agree with any
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max())


@pytest.mark.parametrize("library", NETS)
def test_every_library_against_numpy(library: str, rng: np.random.Generator) -> None:
    weights, x = Weights.drawn(rng), image(rng)
    by_hand, case = Network(weights, x), NETS[library](weights, x)

    @jax.jit
    def look(*args: object) -> list[jax.Array]:
        found = [method(case.fn, *args, target=1) for method in RULES.values()]
        if case.second:
            maps = see.activations(case.fn, *args, layer=case.second)
            cam = see.grad_cam(case.fn, *args, layer=case.second, target=1, signed=True, enlarge=False)
            found += [maps, cam]
        return [*found, see.activations(case.fn, *args, layer=case.first)]

    *gradients, before = look(*case.args)
    close(before, by_hand.before)
    for rule, got in zip(RULES, gradients, strict=False):
        close(got, by_hand.back(rule, 1))
    if case.second:
        close(gradients[3], by_hand.inner[1])
        close(gradients[4], by_hand.cam(1))
    close(see.first_kernels(case.fn, *case.args), weights.first.astype(np.float64))


def test_the_rules_differ_on_this_network(rng: np.random.Generator) -> None:
    by_hand = Network(Weights.drawn(rng), image(rng))
    found = [by_hand.back(rule, 1) for rule in RULES]
    for i in range(3):
        with pytest.raises(AssertionError):
            close(found[i], found[i - 1])


def test_a_unit_of_a_layer_goes_back_from_its_own_value(rng: np.random.Generator) -> None:
    """As Zeiler and Fergus do: all other units are set to zero."""
    weights, x = Weights.drawn(rng), image(rng)
    by_hand, case = Network(weights, x), NETS["nnx"](weights, x)
    unit = (1, 2, 1, 3)
    maps = np.zeros_like(by_hand.inner[0])
    maps[unit] = by_hand.inner[0][unit]
    g = conv_back(maps, weights.second, SECOND)
    g = unpool(g, by_hand.switches, by_hand.before.shape)
    g = conv_back(rectify_back("deconvnet", by_hand.before, g), weights.first, FIRST)
    got = see.deconvnet(case.fn, *case.args, layer="second#0", target=lambda a: a[unit] ** 2 / 2)
    close(got, g)


@jax.custom_jvp
def block(x: jax.Array) -> jax.Array:
    return jnp.maximum(x @ jnp.eye(4), 0)


block.defjvp(lambda primals, tangents: (block(*primals), tangents[0]))

FORMS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "jax.nn.relu": jax.nn.relu,
    "maximum": lambda x: jnp.maximum(0.0, x),
    "of zeros": lambda x: jnp.maximum(x, jnp.zeros_like(x)),
    "clip below": lambda x: jnp.clip(x, 0),
    "clip": lambda x: jnp.clip(x, 0, 100),
    "lax.clamp": lambda x: lax.clamp(0.0, x, 100.0),
    "relu6": jax.nn.relu6,
    "product": lambda x: x * (x > 0),
    "where": lambda x: jnp.where(x > 0, x, 0.0),
    "where not": lambda x: jnp.where(x <= 0, 0.0, x),
    "jit": jax.jit(lambda x: jax.jit(jnp.maximum)(x, 0)),
    "remat": jax.checkpoint(jax.nn.relu),
    "scan": lambda x: lax.scan(lambda c, _: (jax.nn.relu(c), None), x, length=1)[0],
    "scanned": lambda x: lax.map(jax.nn.relu, x),
    "cond": lambda x: lax.cond(x.sum() < 99, jax.nn.relu, jnp.negative, x),
    "custom_jvp with a product": block,
    "vmap": jax.vmap(jax.nn.relu),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_rectifiers(form: str) -> None:
    x = jnp.array([[-1.5, 2.0, -0.5, 3.0]])
    w = jnp.array([[1.0, -2.0, -3.0, 4.0]])

    def fn(x: jax.Array) -> jax.Array:
        return (w * FORMS[form](x)).sum()

    for rule, wanted in (("deconvnet", [1, 0, 0, 4]), ("guided", [0, 0, 0, 4]), ("gradient", [0, -2, 0, 4])):
        y, got = jax.value_and_grad(see.with_rule(fn, rule))(x)
        assert (float(y), got.tolist()) == (8.0, [wanted])


def test_a_rule_of_ones_own() -> None:
    fn = see.with_rule(lambda x: (3 * jax.nn.relu(x)).sum(), lambda x, g: 10 * g * x)
    got = jax.vmap(jax.jit(jax.grad(fn)))(jnp.array([[-1.0, 2.0], [0.5, 0.0]]))
    assert got.tolist() == [[-30.0, 60.0], [15.0, 0.0]]


@pytest.mark.parametrize(
    "fn",
    [
        jax.nn.softplus,
        jax.nn.elu,
        jax.nn.hard_sigmoid,
        jax.nn.hard_swish,
        nnx.LayerNorm(4, rngs=nnx.Rngs(0)),
        lambda x: jnp.maximum(x, 1.0),
        lambda x: jnp.minimum(x, 0),
        lambda x: jnp.where(x > 0, 0.0, x),
    ],
    ids=["softplus", "elu", "hard_sigmoid", "hard_swish", "a variance", "from one", "min", "negative part"],
)
def test_what_is_no_rectifier_keeps_its_derivative(fn: Callable[[jax.Array], jax.Array]) -> None:
    x = jnp.array([[-1.5, 2.0, -0.5, 3.0]])
    w = jnp.array([[1.0, -2.0, -3.0, 4.0]])
    with pytest.raises(ValueError, match=r"fn has no rectifier max\(x, 0\)"):
        see.deconvnet(fn, x, target=0)
    beside = see.with_rule(lambda x, z: (w * fn(x)).sum() + jax.nn.relu(z).sum(), "deconvnet")
    wanted = jax.grad(lambda x: (w * fn(x)).sum())(x)
    np.testing.assert_allclose(jax.grad(beside)(x, x), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "fn", [jax.nn.leaky_relu, lambda x: jnp.maximum(x, 0.1 * x), lambda x: jnp.where(x < 0, 0.3 * x, x)]
)
def test_leaky_rectifiers_are_refused(fn: Callable[[jax.Array], jax.Array]) -> None:
    with pytest.raises(ValueError, match="is a leaky rectifier; the rules are for"):
        see.guided_backprop(lambda x: jax.nn.relu(fn(x)), jnp.ones((1, 4)), target=0)


def test_custom_derivatives_without_rectifiers_stay() -> None:
    @jax.custom_vjp
    def doubled(x: jax.Array) -> jax.Array:
        return jnp.sin(x)

    doubled.defvjp(lambda x: (jnp.sin(x), None), lambda _, g: (2 * g,))
    got = jax.grad(see.with_rule(lambda x: doubled(jax.nn.relu(x)).sum(), "guided"))(jnp.array([3.0]))
    assert got.tolist() == [2.0]


def test_an_identity_keeps_its_own_derivative() -> None:
    """As the reversal of a gradient does, alone or beside other results."""

    @jax.custom_vjp
    def reverse(x: jax.Array) -> tuple[jax.Array, ...]:
        return x, x, jnp.float32(5)

    reverse.defvjp(lambda x: (reverse(x), None), lambda _, g: (2 * g[0] - 3 * g[1] + g[2],))

    def fn(x: jax.Array) -> jax.Array:
        a, b, c = reverse(jax.nn.relu(x))
        return a.sum() + 7 * b.sum() + 11 * c

    x, own = jnp.array([1.0, 2.0]), 2.0 - 3 * 7 + 11
    assert jax.grad(fn)(x).tolist() == [own, own]
    assert jax.grad(see.with_rule(fn, "gradient"))(x).tolist() == [own, own]
    assert jax.grad(see.with_rule(fn, "guided"))(x).tolist() == [0.0, 0.0]


def test_ties_of_maxima() -> None:
    """The switch of equal elements is the first; where a pool is made of jnp.maximum both get half."""
    x = jnp.array([0.0, 5.0, 5.0, 1.0]).reshape(1, 4, 1)

    def last(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 4, 1), (1, 4, 1), "VALID")

    pools = {
        "ours": (lambda x: jaxconv.max_pool(x, 4), [0, 1, 0, 0]),
        "lax": (last, [0, 1, 0, 0]),
        "maximum": (lambda x: jnp.maximum(x[:, 1:2], x[:, 2:3]), [0, 0.5, 0.5, 0]),
    }
    for pool, wanted in pools.values():
        got = see.deconvnet(lambda x, pool=pool: jax.nn.relu(pool(x)), x, target=0)
        assert got.ravel().tolist() == wanted
