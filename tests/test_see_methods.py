"""Integrated gradients, activation maximisation, patches, names of layers, and what is said of bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.explain import see
from tests.see_nets import NETS, image
from tests.see_oracle import FIRST, SHAPE, Network, Weights, conv

EPS = float(np.finfo(np.float32).eps)


def test_integrated_gradients_of_a_polynomial_are_exact(rng: np.random.Generator) -> None:
    """Of degree 5 along the way: three points are enough, two are not. ∫ along the way by hand."""
    a, b = (rng.normal(size=(1, 4)) for _ in range(2))
    x, base = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)

    def quintic(x: jax.Array) -> jax.Array:
        return (x**5).sum()

    wanted = a**5 - b**5  # each element by itself
    for steps, exact in ((3, True), (2, False)):
        found = see.integrated_gradients(quintic, x, baseline=base, steps=steps)
        error = np.abs(found.values - wanted).max() / np.abs(wanted).max()
        assert bool(error < 32 * EPS) is exact
        rest = abs(float(found.total - found.difference))
        assert bool(rest < 32 * EPS * np.abs(wanted).sum()) is exact


def test_integrated_gradients_are_complete_within_the_bound_of_the_kinks() -> None:
    """Along the way the slope is a step function; the rule's error is at most its variation times the
    longest gap between points, and the baseline may be an image."""
    rng = np.random.default_rng(0)  # a network that no rectifier silences
    weights, x = Weights.drawn(rng), image(rng)
    fn, (given,) = NETS["nnx"](weights, x).fn, (jnp.asarray(x),)
    base = 0.5 * np.flip(x, 1)
    steps = 512
    found = jax.jit(lambda x: see.integrated_gradients(fn, x, target=2, baseline=base, steps=steps))(given)
    difference = (Network(weights, x).y - Network(weights, base).y)[:, 2].sum()
    assert float(found.difference) == pytest.approx(difference, rel=1e-4, abs=1e-5)
    assert float(found.total) == pytest.approx(float(found.values.sum()), rel=1e-5, abs=1e-5)
    points = (np.polynomial.legendre.leggauss(steps)[0] + 1) / 2
    gap = np.diff([0, *points, 1]).max()
    fine = [
        (Network(weights, base + t * (x - base)).back("gradient", 2) * (x - base)).sum()
        for t in np.linspace(0, 1, 300)
    ]
    bound = gap * np.abs(np.diff(fine)).sum()
    assert abs(float(found.total) - difference) <= bound + 1e-5
    assert abs(fine[-1] - difference) > bound  # as gradient times input is


def test_maximisation_reaches_more(rng: np.random.Generator) -> None:
    case = NETS["nnx"](Weights.drawn(rng), image(rng))
    start = jnp.full(SHAPE, 0.5)[:1]

    @jax.jit
    def climb(x: jax.Array) -> tuple[jax.Array, ...]:
        found = [see.maximise(case.fn, x, target=2, steps=32, blur=0, seed=seed) for seed in (0, 1)]
        unit = see.maximise(case.fn, x, layer="second#1", target=(0, 1, 2, 3), steps=32, jitter=0)
        return (*found, unit)

    first, second, unit = climb(start)
    values = [float(case.fn(x)[0, 2]) for x in (start, first, second)]
    chance = rng.uniform(size=(500, *SHAPE[1:])).astype(np.float32)
    assert min(values[1:]) > max(values[0], float(case.fn(chance)[:, 2].max()))
    assert not bool((first == second).all())
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    before, after = (see.activations(case.fn, x, layer="second#1")[0, 1, 2, 3] for x in (start, unit))
    assert float(after) > float(before) + 0.1


def test_maximisation_is_plain_ascent_without_its_rules() -> None:
    x = see.maximise(
        lambda x: (x * jnp.array([3.0, -4.0])).sum(), jnp.zeros((1, 2)),
        steps=5, rate=0.1, noise=0, decay=0, blur=0, jitter=0, bounds=None,
    )  # fmt: skip
    np.testing.assert_allclose(x, 0.5 * np.array([[3, -4]]) / np.sqrt(12.5), rtol=1e-5)


@pytest.mark.parametrize("library", ["nnx", "equinox"])
def test_patches_are_those_of_brute_force(library: str, rng: np.random.Generator) -> None:
    weights = Weights.drawn(rng)
    data = rng.normal(size=(7, *SHAPE[1:])).astype(np.float32)
    case = NETS[library](weights, data)
    found = see.top_patches(case.fn, data, layer="first", k=3, batch=3, channels=[2, 0])
    maps = conv(data.astype(np.float64), weights.first, FIRST) + weights.first_bias
    for c, patches in zip([2, 0], found, strict=True):
        best = maps[..., c].reshape(7, -1)
        order = np.argsort(-best.max(1))[:3]
        assert [p.image for p in patches] == order.tolist()
        for p in patches:
            i, j = np.unravel_index(best[p.image].argmax(), maps.shape[1:3])
            assert p.position == (i, j)
            assert p.value == pytest.approx(best[p.image].max(), rel=1e-4)
            rows, columns = range(max(i - 1, 0), min(i + 2, 8)), range(j, min(j + 2, 7))
            assert p.box == (rows, columns)
            assert np.array_equal(p.pixels, data[p.image][np.ix_(rows, columns)])


def test_a_patch_is_all_that_the_filter_sees(rng: np.random.Generator) -> None:
    """Of a later layer: what lies outside of the box may be anything."""
    data = rng.normal(size=(3, 24, 17, 2)).astype(np.float32)
    case = NETS["nnx"](Weights.drawn(rng), data[:, :8, :7])
    (patch,) = see.top_patches(case.fn, data, layer="second#0", k=1, channels=[1])[0]
    rows, columns = patch.box
    other = np.full_like(data[patch.image], 9.0)
    other[rows.start : rows.stop, columns.start : columns.stop] = patch.pixels
    value = see.activations(case.fn, other[None], layer="second#0")[0, *patch.position, 1]
    assert float(value) == pytest.approx(patch.value, rel=1e-4, abs=1e-5)
    assert patch.pixels.size < data[0].size / 2


def test_cam_is_enlarged_to_the_input(rng: np.random.Generator) -> None:
    weights, x = Weights.drawn(rng), image(rng)
    case = NETS["nnx"](weights, x)
    small = np.maximum(Network(weights, x).cam(1), 0)
    found = see.grad_cam(case.fn, *case.args, layer="second#1", target=1)
    wanted = jaxconv.resize(jnp.asarray(small, jnp.float32)[..., None], size=SHAPE[1:3])[..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(wanted.max()))


@pytest.mark.parametrize(
    "target", [np.int64(2), jnp.array(2), (0, np.int32(2))], ids=["NumPy", "JAX", "index"]
)
def test_a_class_is_any_kind_of_integer(target) -> None:
    matrix = jnp.arange(12.0).reshape(4, 3)
    got = see.gradient(lambda x: x @ matrix, jnp.ones((1, 4)), target=target)
    np.testing.assert_array_equal(got[0], matrix[:, 2])


def test_names_of_layers(rng: np.random.Generator) -> None:
    case = NETS["nnx"](Weights.drawn(rng), image(rng))
    names = [name for name in see.layer_names(case.fn, *case.args) if ".py" not in name]
    assert names == ["first", "second#0", "second#1", "dense"]
    rectified = see.activations(case.fn, *case.args, layer="second#0+relu")
    plain = see.activations(case.fn, *case.args, layer="second#0")
    np.testing.assert_array_equal(rectified, np.maximum(plain, 0))


def test_what_is_said_of_bad_input(rng: np.random.Generator) -> None:
    case = NETS["nnx"](Weights.drawn(rng), image(rng))
    fn, x = case.fn, case.args[0]
    for call, words in [
        (lambda: see.activations(fn, x, layer="secnd"), r"layer='secnd' is no layer .* nearest is 'second#"),
        (lambda: see.activations(fn, x, layer="second"), "is called 2 times; name one of them: 'second#0'"),
        (lambda: see.activations(fn, x, layer="dense+relu"), r"no rectifier max\(x, 0\) follows"),
        (lambda: see.grad_cam(fn, x, layer="dense", target=0), "without spatial axes"),
        (lambda: see.gradient(fn, x), r"target is missing: fn gives an array of shape \(2, 3\)"),
        (lambda: see.gradient(fn, x, target=3), r"target=3 is no position of a result of shape \(2, 3\)"),
        (lambda: see.gradient(fn, x, target=(2, 0)), r"target=\(2, 0\) is no position"),
        (lambda: see.gradient(fn, x, target=np.int64(3)), r"target=.*3.* is no position"),
        (lambda: see.gradient(fn, x, target=(np.int64(2), 0)), r"target=.* is no position"),
        (lambda: see.gradient(fn, x, target=lambda y: y[0]), "wanted is one number"),
        (lambda: see.gradient(fn, x.astype(int), target=0), "has dtype int32; a gradient needs a floating"),
        (lambda: see.gradient(fn, "x", target=0), "is no argument that is one array"),
        (lambda: see.gradient(lambda x: (x, x), x, target=0), "fn has several results"),
        (lambda: see.integrated_gradients(fn, x, target=0, steps=0), "steps=0 must be at least 1"),
        (
            lambda: see.integrated_gradients(fn, x, target=0, baseline=jnp.ones(2)),
            r"baseline of shape \(2,\)",
        ),
        (lambda: see.maximise(fn, x, target=0, blur=-1), r"{'blur': -1} must not be negative"),
        (lambda: see.with_rule(fn, "relu"), "rule='relu' must be one of gradient, deconvnet, guided"),
        (lambda: see.top_patches(fn, x, layer="first", channels=[4]), r"channels=\[4\] are none of layer"),
        (lambda: see.first_kernels(lambda x: x + 1, x), "passes no convolution with a kernel"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    loops = NETS["loops"](Weights.drawn(rng), image(rng))
    with pytest.raises(ValueError, match="'second' is inside a loop or a conditional"):
        see.activations(loops.fn, *loops.args, layer="second")
