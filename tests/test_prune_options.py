"""What the options of pruning choose, and what is written down of it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv.prune import Channels, load, prune, schedule
from tests.prune_models import build
from tests.test_prune import close
from tests.test_prune_rules import conv, draw


def net(p, x):
    y = jax.nn.relu(conv(x, p["a"]["kernel"]) + p["a"]["bias"])
    y = jax.nn.relu(conv(y, p["b"]["kernel"]))
    return conv(y, p["c"]["kernel"])


@pytest.fixture
def params(rng):
    drawn = draw(rng, a=(3, 2, 3, 8), b=(1, 3, 8, 20), c=(1, 1, 20, 2), bias=(8,))
    return {"a": {"kernel": drawn["a"], "bias": drawn["bias"]}} | {n: {"kernel": drawn[n]} for n in "bc"}


X = jnp.asarray(np.random.default_rng(3).normal(size=(2, 6, 4, 3)), jnp.float32)


def left(small) -> dict[str, int]:
    return {name: sizes["out"][1] for name, sizes in small.config["layers"].items()}


def kept(small, name, dim):
    return small.config["kept"][name][str(dim)]


def highest(scores, count):
    return sorted(np.argsort(scores)[-count:].tolist())


def test_importance(params):
    """Against sums in float64 over all elements that go."""
    a, b = (np.asarray(params[n]["kernel"], np.float64) for n in "ab")
    bias = np.asarray(params["a"]["bias"], np.float64)
    expected = {
        "l1": np.abs(a).sum((0, 1, 2)) + np.abs(b).sum((0, 1, 3)),
        "l2": (a**2).sum((0, 1, 2)) + (b**2).sum((0, 1, 3)),
    }
    for name, scores in expected.items():
        assert kept(prune(net, params, X, importance=name), "a/kernel", 3) == highest(scores, 4)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(net(p, X)))))(params)
    ga, gb = (np.asarray(gradients[n]["kernel"], np.float64) for n in "ab")
    taylor = np.abs((ga * a).sum((0, 1, 2))) + np.abs((gb * b).sum((0, 1, 3)))
    taylor += np.abs(bias * np.asarray(gradients["a"]["bias"], np.float64))
    small = prune(net, params, X, importance="taylor", gradients=gradients)
    assert kept(small, "a/kernel", 3) == highest(taylor, 4) != highest(expected["l2"], 4)

    def biased(channels: Channels):
        return channels.weights.get(("a/bias", 0), np.ones((channels.count, 1))).sum(1)

    assert kept(prune(net, params, X, importance=biased), "a/kernel", 3) == highest(bias, 4)
    drawn = [kept(prune(net, params, X, importance="random", seed=s), "b/kernel", 3) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_scales_of_norms(rng):
    fn, params, x = build("linen", "resnet", rng)
    small = prune(fn, params, x, importance="bn_scale", ignore=["down"])
    scales = {n: np.abs(np.asarray(params["params"][n]["scale"])) for n in ("norm0", "norm1", "norm2")}
    assert kept(small, "params/conv1/kernel", 3) == highest(scales["norm1"], 5)
    assert kept(small, "params/stem/kernel", 3) == highest(scales["norm0"] + scales["norm2"], 3)  # one sum
    with pytest.raises(ValueError, match=r"the channels of .* are scaled by no norm; .*ignore="):
        prune(*build("linen", "unet", rng), importance="bn_scale")


def test_ratios_rounding_and_ignored_layers(params):
    assert left(prune(net, params, X, ratio=0.3)) == {"a": 6, "b": 14, "c": 2}
    assert left(prune(net, params, X, ratio={"b": 0.75})) == {"a": 8, "b": 5, "c": 2}
    assert left(prune(net, params, X, ratio=1.0, most=1.0)) == {"a": 1, "b": 1, "c": 2}
    assert left(prune(net, params, X, ratio=0.55, round_to=8)) == {"a": 8, "b": 16, "c": 2}
    assert left(prune(net, params, X, ratio=0.55, round_to=128)) == {"a": 8, "b": 20, "c": 2}
    assert left(prune(net, params, X, ignore=["a"])) == {"a": 8, "b": 10, "c": 2}
    small_b = jax.tree.map(lambda leaf: leaf, params) | {
        "b": {"kernel": params["b"]["kernel"].at[..., :12].mul(1e-3)}
    }
    small_b["c"] = {"kernel": params["c"]["kernel"].at[:, :, :12].mul(1e-3)}
    found = prune(net, small_b, X, ratio=0.5, global_pruning=True)
    assert left(found)["a"] + left(found)["b"] == 14
    assert left(found)["b"] <= 8
    assert set(kept(found, "b/kernel", 3)) <= set(range(12, 20))
    assert left(prune(net, small_b, X, ratio=0.9, global_pruning=True, most=0.5)) == {"a": 4, "b": 10, "c": 2}


GROUPS = {  # left of the grouped layer's input and result, its groups and its kernel
    "same": (4, 4, 2, (3, 3, 2, 4)),
    "groups": (4, 4, 1, (3, 3, 4, 4)),
    "regroup": (4, 4, 2, (3, 3, 2, 4)),
}


@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("strategy", GROUPS)
def test_strategies_for_groups(strategy, transposed, rng):
    grouped = jaxconv.conv_transpose if transposed else jaxconv.conv

    def f(p, x):
        y = jnp.tanh(conv(x, p["into"]))
        return conv(jnp.sin(grouped(y, p["grouped"], groups=2)), p["back"])

    params = draw(rng, into=(1, 1, 3, 8), grouped=(3, 3, 4, 8), back=(1, 1, 8, 2))
    small = prune(f, params, X, strategy=strategy)
    into, result, groups, kernel = GROUPS[strategy]
    assert small.params["grouped"].shape == kernel
    assert [small.params["into"].shape[-1], small.params["back"].shape[2]] == [into, result]
    got, want = jax.jit(lambda p, q: (small.apply(p, X), f(q, X)))(small.params, small.expand())
    assert f"feature_group_count={groups}" in (text := str(jax.make_jaxpr(small.apply)(small.params, X))) or (
        f"groups={groups}" in text
    )
    close(got, want)
    for name, masked in small.expand().items():  # what is left is the original's, at its place
        assert not (np.asarray(masked - params[name])[np.asarray(masked) != 0]).any()
    channels = np.array(kept(small, "into", 3))
    if strategy == "groups":
        assert len(set(channels // 4)) == 1
    else:
        assert (channels // 4).tolist() == [0, 0, 1, 1]
        assert (set(channels[:2]) == set(channels[2:] - 4)) == (strategy == "same")


def test_a_grouped_layer_that_is_called_twice_has_one_new_kernel(rng):
    def f(p, x):
        y = jnp.tanh(conv(x, p["into"]))
        for _ in range(2):
            y = jnp.sin(conv(y, p["grouped"], groups=2))
        return conv(y, p["back"])

    params = draw(rng, into=(1, 1, 3, 8), grouped=(3, 3, 4, 8), back=(1, 1, 8, 2))
    small = prune(f, params, X, strategy="regroup")
    assert small.params["grouped"].shape[-1] == 4
    got, want = jax.jit(lambda p, q: (small.apply(p, X), f(q, X)))(small.params, small.expand())
    close(got, want)


def test_regrouped_kernels_are_zero_between_old_groups(rng):
    """Three of eight channels are ignored in one group, so groups of unequal size are left: one, then."""

    def f(p, x):
        y = jnp.concatenate([conv(x, p["into"]), x[..., :2]], -1)
        return conv(jnp.sin(conv(y, p["grouped"], groups=2)), p["back"])

    params = draw(rng, into=(1, 1, 3, 6), grouped=(3, 3, 4, 8), back=(1, 1, 8, 2))
    small = prune(f, params, X, strategy="regroup", ratio=0.5)
    assert small.params["grouped"].shape == (3, 3, 5, 4)  # of one group: kept 3 and the data's 2 channels
    close(small(X), f(small.expand(), X))
    zero = np.asarray(small.params["grouped"]) == 0
    assert zero.any(axis=(0, 1)).sum() == 20 - np.sum(
        [[i // 4 == o // 4 for o in kept(small, "grouped", 3)] for i in [*kept(small, "into", 3), 6, 7]]
    )
    trained = jax.tree.map(lambda leaf: leaf + 1, small.params)
    with pytest.raises(ValueError, match="the zeros between its old groups are gone"):
        small.expand(trained)


def test_in_steps(params):
    """Each step goes on from trained parameters, and what is gone stays gone."""
    small = prune(net, params, X, ratio=schedule(0.6, 3)[0])
    first = set(kept(small, "b/kernel", 3))
    for ratio in schedule(0.6, 3)[1:]:
        small = small.with_params(jax.tree.map(lambda leaf: leaf * 1.5 + 0.1, small.params))
        before, small = small, prune(small, X, ratio=ratio)
        assert set(kept(small, "b/kernel", 3)) < set(kept(before, "b/kernel", 3)) <= first
    assert left(small) == {"a": 4, "b": 8, "c": 2}
    close(small(X), net(small.expand(), X))
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        schedule(0.5, 0)


def test_times_of_the_planner_decide(rng):
    drawn = draw(rng, a=(3, 3, 3, 32), b=(3, 3, 32, 64), c=(1, 1, 64, 2))
    wide = {n: {"kernel": k} for n, k in drawn.items()} | {"a": {"kernel": drawn["a"], "bias": jnp.ones(32)}}
    x = jax.ShapeDtypeStruct((8, 48, 40, 3), "float32")

    def share(small):
        times = [
            sum(next(c for c in entry.plan.candidates if c.name == "direct").seconds for entry in found)
            for found in (jaxconv.plan(net, p, x, platform="cpu") for p in (small.params, wide))
        ]
        return times[0] / times[1]

    small = prune(net, wide, x, time=0.6, platform="cpu")
    assert 0.4 < share(small) <= 0.6
    assert share(prune(net, wide, x, time=0.3, training=True, platform="cpu")) < 0.5
    with pytest.raises(ValueError, match=r"time=0\.0001 cannot be met: with ratio=0\.9"):
        prune(net, wide, x, time=0.0001, platform="cpu")
    with pytest.raises(ValueError, match=r"nothing is known of the time of forward .*tune"):
        prune(net, wide, x, time=0.5, platform="tpu")


def test_report_counts_and_times(params):
    report = prune(net, params, X).report(X, repeats=1)
    assert report.parameters == (144 + 8 + 480 + 40, 72 + 4 + 120 + 20)
    assert [row[:2] for row in report.rows] == [("a", (8, 4)), ("b", (20, 10)), ("c", (2, 2))]
    want = jaxconv.summary(net, params, X).forward
    assert report.multiply_adds[0] == want
    assert min(*report.forward, *report.step) > 0
    assert "forward and gradient: " in str(report)


def test_report_of_layers_without_names(rng):
    """They are named by the line of the user's code, which the pruned function does not have."""
    f = lambda p, x: conv(jnp.sin(conv(x, p[0])), p[1])  # noqa: E731
    params = list(draw(rng, a=(3, 2, 3, 8), b=(1, 1, 8, 2)).values())
    report = prune(f, params, X).report(X)
    assert report.parameters == (144 + 16, 72 + 8)
    assert report.multiply_adds[1] * 2 == report.multiply_adds[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded(dtype, params, tmp_path):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    params["steps"] = jnp.int32(7)
    small = prune(net, params, X.astype(dtype), strategy="groups")
    small.save(tmp_path / "small")
    with np.load(tmp_path / "small/params.npz", allow_pickle=False) as stored:
        assert stored["params/a/bias"].shape == (4,)
    again = load(tmp_path / "small", net, jax.eval_shape(lambda: params), X.astype(dtype))
    assert again.config == small.config
    assert jax.tree.structure(again.params) == jax.tree.structure(small.params)
    for one, other in zip(jax.tree.leaves(again.params), jax.tree.leaves(small.params), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if dtype == "float32":
        assert np.asarray(again(X)).tobytes() == np.asarray(small(X)).tobytes()
        with pytest.raises(ValueError, match=r"from another model: c/kernel has shape \[1, 1, 20, 3\] here"):
            load(tmp_path / "small", net, params | {"c": {"kernel": jnp.ones((1, 1, 20, 3))}}, X)
        fewer = dict(config := json.loads((tmp_path / "small/config.json").read_text()))
        fewer["dtypes"] = {name: dtype for name, dtype in config["dtypes"].items() if name != "c/kernel"}
        for damaged in (fewer, {name: value for name, value in config.items() if name != "kept"}):
            (tmp_path / "small/config.json").write_text(json.dumps(damaged))
            with pytest.raises(ValueError, match=r"holds no pruned network of version 1: .*(c/kernel|kept)"):
                load(tmp_path / "small", net, params, X)
        (tmp_path / "small/config.json").write_text(json.dumps({"schema": "another"}))
        with pytest.raises(
            ValueError, match="holds no pruned network of version 1: it says schema='another'"
        ):
            load(tmp_path / "small", net, params, X)


def test_training_mode_of_a_model_whose_statistics_change(rng):
    """What Linen returns beside the result comes out small, and is what the masked model returns."""
    fn, params, x = build("linen", "resnext", rng)
    small = prune(fn, params, x)
    train = lambda variables, y: fn(variables, y, True, mutable=["batch_stats"])  # noqa: E731
    got, want = jax.jit(lambda p, q: (small.like(train)(p, x), train(q, x)))(small.params, small.expand())
    close(got[0], want[0], depth=40)  # norms of a batch divide by small numbers
    mean = want[1]["batch_stats"]["norm1"]["mean"][np.array(kept(small, "batch_stats/norm1/mean", 0))]
    close(got[1]["batch_stats"]["norm1"]["mean"], mean)
    assert got[1]["batch_stats"]["norm1"]["mean"].shape == (9,)
    with pytest.raises(ValueError, match="cannot do without channels that were pruned: sort in "):
        small.like(lambda p, y: jnp.sort(p["params"]["stem"]["kernel"]).sum() + fn(p, y))(small.params, x)


def test_modules_are_trained_further(rng):
    """NNX: statistics change, keys of dropout stay, other batch sizes work."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(3, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.b = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x):
            return self.b(self.drop(nnx.relu(self.norm(self.a(x)))))

    small = prune(Net(nnx.Rngs(0)), jnp.asarray(rng.normal(size=(5, 3)), jnp.float32))
    model = small.model
    assert (model.a.out_features, model.norm.num_features, model.b.in_features) == (4, 4, 4)
    y = model(jnp.asarray(rng.normal(size=(7, 3)), jnp.float32))
    assert y.shape == (7, 2)
    assert float(jnp.abs(model.norm.mean[...]).min()) > 0
    assert float(jnp.abs(small.params.norm.mean[...]).max()) == 0
    assert small.with_params(model).apply(model, jnp.ones((1, 3))).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.5}, r"a ratio of 1\.5 is no share; it must be from 0 to 1"),
        ({"round_to": 0}, "round_to=0 must be a whole number"),
        ({"strategy": "none"}, "strategy='none' is not known; use one of same, groups, regroup"),
        ({"importance": "l3"}, "importance='l3' is not known; use a function or one of l1, l2"),
        ({"importance": "taylor"}, "importance='taylor' needs gradients="),
        ({"gradients": [1.0]}, "gradients has 1 leaves, the parameters have 4"),
        ({"importance": lambda _: np.ones(3)}, r"importance gave a scores of shape \(3,\).* 8 finite ones"),
        ({"importance": lambda c: np.full(c.count, np.nan)}, "finite: False"),
        ({"ignore": ["z*"]}, r"ignore='z\*' names no layer; there are a, b, c"),
        (
            {"ratio": {"c": 0.5}},
            "ratio names 'c': c cannot be pruned: it is a dimension of the result.*pruned are a, b",
        ),
        ({"ratio": {"d": 0.5}}, "ratio names 'd': no such layer"),
        ({"ratio": {"a": 0.5}, "global_pruning": True}, "exclude each other"),
        ({"time": 0.0}, r"time=0\.0 is no share of the original's time"),
    ],
)
def test_wrong_options(options, message, params):
    with pytest.raises(ValueError, match=message):
        prune(net, params, X, **options)


def test_wrong_arguments(params):
    with pytest.raises(ValueError, match=r"neither the function nor any of its arguments is a pytree"):
        prune(lambda x: net(params, x), X)
    with pytest.raises(ValueError, match="two parameters go by the name 'a/b'; rename one"):
        prune(lambda p, x: x @ p["a/b"] @ p["a"]["b"], {"a/b": jnp.eye(3), "a": {"b": jnp.eye(3)}}, X)
    with pytest.raises(ValueError, match="fn=3 of type int must be a model"):
        prune(3, X)
    with pytest.raises(ValueError, match="the parameters are shapes without values"):
        prune(net, jax.eval_shape(lambda: params), X)
    small = prune(net, params, X)
    with pytest.raises(ValueError, match=r"a/bias has shape \(8,\), the pruned network wants \(4,\)"):
        small.apply(params, X)
    with pytest.raises(ValueError, match="params has 1 leaves, the pruned network has 4"):
        small.apply([1.0], X)
    with pytest.raises(ValueError, match="the parameters are a plain pytree"):
        _ = small.model
