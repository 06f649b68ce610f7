"""How tables are made: finding a function's convolutions, timing the algorithms, going on after a break."""

import functools
import importlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv.lowerings import REGISTRY, Lowering
from jaxconv.lowerings._base import Work
from jaxconv.planner import Key, Table, timing
from jaxconv.planner.collect import collect
from jaxconv.planner.progress import reporting
from jaxconv.testing import assert_close

tuning = importlib.import_module("jaxconv.planner.tune")  # of which the package re-exports the function

X, KERNEL = jax.ShapeDtypeStruct((2, 9, 3), jnp.float32), jax.ShapeDtypeStruct((4, 3, 3), jnp.float32)
FORWARD, INPUT_GRAD, WEIGHT_GRAD = (
    f"{slot} n2 g1 c3>3 9k4s1d1p1,2 float32 default" for slot in ("forward", "input_grad", "weight_grad")
)
quick = functools.partial(jaxconv.tune, repeats=1, progress=False, algorithms=["im2col"])


def conv(x, kernel, **options):
    return jaxconv.conv(x, kernel, padding="SAME", **options)


def loss(x, kernel, **options):
    return jnp.sum(conv(x, kernel, **options) ** 2)


def counts(fn, *args, **kwargs):
    """How often a function computes each convolution."""
    found = collect(fn, args or (X, KERNEL), kwargs, "cpu") or ()
    return {str(f.key): f.count for f in found if f.algorithm is None}


# Finding


@jax.custom_jvp
def custom(x, kernel):
    return conv(x, kernel)


custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0]))
backward = jax.custom_vjp(conv)
backward.defvjp(lambda x, kernel: (conv(x, kernel), kernel), lambda kernel, g: (g, kernel))


def nested(x, kernel):
    def body(c, _):
        return lax.fori_loop(0, 3, lambda _, c: conv(c, kernel), c), None

    return lax.scan(body, x, length=5)[0]


ONE = {FORWARD: 1}
WRAPPED = {
    "plain": (conv, ONE),
    "jit": (jax.jit(lambda x, k: jax.jit(conv)(x, k)), ONE),
    "scan": (lambda x, k: lax.scan(lambda c, _: (conv(c, k), None), x, length=5)[0], {FORWARD: 5}),
    "scan in scan": (nested, {FORWARD: 15}),
    "while": (lambda x, k: lax.while_loop(lambda c: jnp.sum(c) < 9, lambda c: conv(c, k), x), ONE),
    "while condition": (lambda x, k: lax.while_loop(lambda c: loss(c, k) < 9, lambda c: c + 1, x), ONE),
    "cond": (lambda x, k: lax.cond(x[0, 0, 0] > 0, conv, lambda x, k: 2 * conv(x, k), x, k), {FORWARD: 2}),
    "checkpoint": (jax.checkpoint(conv), ONE),
    "custom_jvp": (custom, ONE),
    "custom_vjp": (backward, ONE),
    "twice": (lambda x, k: conv(conv(x, k), k), {FORWARD: 2}),
    "grad": (jax.grad(loss), {FORWARD: 1, INPUT_GRAD: 1}),
    "grad of kernel": (jax.grad(loss, 1), {FORWARD: 1, WEIGHT_GRAD: 1}),
    "grad of checkpoint": (jax.grad(jax.checkpoint(loss)), {FORWARD: 2, INPUT_GRAD: 1}),
    "jvp": (lambda x, k: jax.jvp(conv, (x, k), (x, k)), {FORWARD: 3}),
    "vmap": (lambda x, k: jax.vmap(conv, (0, None))(x[:, None], k), ONE),
    "transposed": (
        lambda g, k: jaxconv.conv_transpose(g, k, output_shape=9, padding="SAME"),
        {INPUT_GRAD: 1},
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_convolutions_are_found(name):
    fn, wanted = WRAPPED[name]
    assert counts(fn) == wanted


def test_inside_shard_map_they_have_the_shape_of_a_shard():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    fn = jax.shard_map(conv, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    assert counts(fn) == {FORWARD.replace("n2", "n1"): 1}


def test_arguments_are_pytrees_of_arrays_or_shapes():
    def fn(batch, *, kernel, scale):
        return conv(batch["x"], kernel[0]) * scale

    x, kernel = np.ones(X.shape, np.float32), jnp.ones(KERNEL.shape)
    assert counts(fn, {"x": X}, kernel=(KERNEL,), scale=2.0) == ONE
    assert counts(fn, {"x": x}, kernel=(kernel,), scale=X) == ONE


def test_what_is_not_the_planners_to_choose_is_left_out():
    assert counts(functools.partial(conv, algorithm="im2col")) == {}
    assert counts(lambda x, k: conv(x, k, algorithm="direct") + conv(x, k)) == ONE
    assert counts(conv, jax.ShapeDtypeStruct((0, 9, 3), jnp.float32), KERNEL) == {}
    assert counts(lambda x, k: jaxconv.conv(x[:, :2], k)) == {}
    (n,) = jax.export.symbolic_shape("n")
    assert counts(conv, jax.ShapeDtypeStruct((n, 9, 3), jnp.float32), KERNEL) == {}


def test_most_work_first():
    many = jax.ShapeDtypeStruct((3, 50, 3), jnp.float32)
    keys = list(counts(lambda x, y, k: (conv(x, k), conv(y, k)), X, many, KERNEL))
    assert [key.split()[1] for key in keys] == ["n3", "n2"]
    keys = list(counts(lambda x, y, k: ([conv(x, k) for _ in range(20)], conv(y, k)), X, many, KERNEL))
    assert [key.split()[1] for key in keys] == ["n2", "n3"]


def test_operands_of_the_results_dtype_stand_for_a_key():
    def fn(x, kernel, half):
        wide = functools.partial(conv, preferred_element_type=jnp.float32)
        narrow = half, kernel.astype(jnp.bfloat16)
        return wide(*narrow), conv(x, kernel), wide(*narrow)

    half = jax.ShapeDtypeStruct(X.shape, jnp.bfloat16)
    (found,) = collect(fn, (X, KERNEL, half), {}, "cpu") or ()
    assert (found.dtypes, found.count) == ((jnp.float32, jnp.float32), 3)


def test_a_function_without_convolutions_is_an_error():
    with pytest.raises(ValueError, match="<lambda> computes no convolution"):
        quick(lambda x: x + 1, X)
    assert len(quick(functools.partial(conv, algorithm="im2col"), X, KERNEL)) == 0


# Measuring


def test_every_able_algorithm_is_measured_and_the_table_is_used():
    known = jaxconv.tune(jax.jit(jax.grad(loss)), X, KERNEL, repeats=2, progress=False)
    assert set(known.seconds) == {FORWARD, INPUT_GRAD}
    for key, times in known.seconds.items():
        k = Key.parse(key)
        able = {n for n, a in REGISTRY.items() if a.supports(k.slot, k.spec, k.dtype, None) is None}
        assert set(times) == able
        with known:
            plan = jaxconv.plan(k.spec, slot=k.slot)
        assert plan.algorithm == min(times, key=times.get)
        assert "(active table)" in str(plan)
    assert (known.platform, known.device_kind) == ("cpu", jax.devices()[0].device_kind)


@pytest.mark.parametrize("dtype", ["bfloat16", "int32", "complex64", "float16", "int8"])
def test_other_dtypes(dtype):
    x, kernel = (jax.ShapeDtypeStruct(a.shape, dtype) for a in (X, KERNEL))
    known = quick(functools.partial(conv, precision="highest"), x, kernel)
    ((key, times),) = known.seconds.items()
    assert key == FORWARD.replace("float32 default", f"{dtype} highest")
    assert set(times) == {"direct", "im2col"}


def test_results_do_not_change(rng):
    x, kernel = (rng.standard_normal(a.shape).astype(np.float32) for a in (X, KERNEL))
    before = jax.jit(jax.grad(loss, (0, 1)))(x, kernel)
    with quick(jax.grad(loss, (0, 1)), X, KERNEL):
        after = jax.jit(jax.grad(loss, (0, 1)))(x, kernel)
    for got, want in zip(after, before, strict=True):
        assert_close(got, want, contraction=12 * 18, factor=4)


@pytest.mark.parametrize("context", [False, True])
def test_under_explicit_sharding(context):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(jnp.ones(X.shape), NamedSharding(mesh, P("data")))
    kernel = jax.device_put(jnp.ones(KERNEL.shape), NamedSharding(mesh, P()))
    if context:
        with jax.set_mesh(mesh):
            known = quick(jax.grad(loss), x, kernel)
    else:
        known = quick(jax.grad(loss), x, kernel)
    assert set(known.seconds) == {FORWARD, INPUT_GRAD}


def fake(monkeypatch, name, run, work=None):
    supports = lambda *_: None  # noqa: E731
    monkeypatch.setitem(REGISTRY, name, Lowering(name, supports, run, lambda *_: work or Work()))


def test_a_wrong_result_is_an_error(monkeypatch):
    def run(slot, spec, target, a, b):
        y = REGISTRY["direct"].run(slot, spec, target, a, b)
        return y.at[0, 0, 0].add(1)

    fake(monkeypatch, "wrong", run)
    with pytest.raises(RuntimeError, match=r"wrong computed forward n2 .* differs from direct by 1 in norm"):
        quick(conv, X, KERNEL, algorithms=["wrong"])


def test_an_algorithm_that_the_device_refuses_is_left_out(monkeypatch, capsys):
    def run(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory.\nDetails")

    fake(monkeypatch, "large", run)
    known = quick(conv, X, KERNEL, algorithms=["large", "im2col"], progress=True)
    assert set(known.seconds[FORWARD]) == {"direct", "im2col"}
    assert "large failed: RESOURCE_EXHAUSTED: Out of memory.\n" in capsys.readouterr().err
    monkeypatch.setitem(REGISTRY, "direct", REGISTRY["large"])
    with pytest.raises(jax.errors.JaxRuntimeError):
        quick(conv, X, KERNEL)


@pytest.mark.parametrize("work", [Work(steps=10**5), Work(workspace=2**31)])
def test_what_would_hang_or_fill_the_memory_is_not_tried(work, monkeypatch):
    def run(*_):
        raise AssertionError("was tried")

    fake(monkeypatch, "huge", run, work)
    assert set(quick(conv, X, KERNEL, algorithms=["huge"]).seconds[FORWARD]) == {"direct"}


def test_a_slow_compilation_is_reported_and_kept(monkeypatch, capsys):
    monkeypatch.setattr(timing, "SLOW_COMPILE_SECONDS", 0.0)
    known = quick(conv, X, KERNEL, progress=True)
    assert set(known.seconds[FORWARD]) == {"direct", "im2col"}
    assert "to compile" in capsys.readouterr().err


def test_rounds_take_turns_and_drop_the_hopeless(monkeypatch):
    samples = {
        "a": [9e-4, 3e-4, 1e-4, 2e-4],
        "b": [4e-4, 7e-4, 5e-4, 5e-4],
        "c": [2.0, 9.1e-4],  # more than three times the best of the first round
        "d": [2.0, 8.9e-4, 1.0, 1.0],
    }
    log = []

    def sample(name, count):
        log.append((name, count))
        return samples[name].pop(0)

    monkeypatch.setattr(timing, "_sample", sample)
    seconds = timing._rounds({name: name for name in samples}, repeats=3)
    assert seconds == {"a": 1e-4, "b": 4e-4, "c": 9.1e-4, "d": 8.9e-4}
    assert "".join(name for name, _ in log) == "abcd" + "abcd" + "abd" + "abd"
    # The first is one call; it says how many make a sample of a millisecond.
    assert [count for _, count in log] == [1, 1, 1, 1] + [1, 2, 1, 1] + [1, 2, 1] * 2


def test_a_sample_is_the_mean_of_calls():
    calls, start = [], time.perf_counter()
    timed = timing._sample(lambda: calls.append(time.sleep(0.002)), 5)
    assert len(calls) == 5
    assert 0.002 <= timed <= (time.perf_counter() - start) / 5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_the_check_accepts_rounding_and_refuses_a_missing_product(dtype):
    key = Key.parse(FORWARD.replace("float32", dtype))
    rng = np.random.default_rng(1)
    exact = np.asarray(timing.random_array(rng, key.spec.output_shape, jnp.complex64))
    want = np.asarray(jnp.asarray(exact if dtype == "complex64" else np.real(exact), dtype))
    eps = float(jnp.finfo(dtype).eps)
    check = functools.partial(timing.check, key, (key.dtype, key.dtype), "cpu", "it")
    check(np.asarray(want * (1 + eps), want.dtype), want)
    wrong = want.copy()
    wrong[0] = 0
    for bad in (wrong, np.full_like(want, np.nan)):
        with pytest.raises(RuntimeError, match="it computed forward n2"):
            check(bad, want)
    check_low = functools.partial(timing.check, key, (key.dtype, key.dtype), "tpu", "it")
    check_low(np.asarray(want * (1 + 2.0**-8), want.dtype), want)


# Going on


def interrupting(monkeypatch, after):
    """Makes the measurement fail once it has been asked for more than `after`; what was asked for."""
    asked = []

    def race(key, _dtypes, names, *_):
        if len(asked) == after:
            raise KeyboardInterrupt
        asked.append((str(key), [*names]))
        return timing.Race(dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.0), [])

    monkeypatch.setattr(tuning, "race", race)
    return asked


def test_an_interrupted_run_goes_on(monkeypatch, tmp_path):
    path = tmp_path / "times.json"
    fn = jax.grad(loss, (0, 1))
    keys = list(counts(fn))
    assert len(keys) == 3
    interrupting(monkeypatch, after=2)
    with pytest.raises(KeyboardInterrupt):
        quick(fn, X, KERNEL, path=path)
    assert list(Table.load(path).seconds) == keys[:2]
    asked = interrupting(monkeypatch, after=9)
    known = quick(fn, X, KERNEL, path=path)
    assert asked == [(keys[2], ["direct", "im2col"])]
    assert known == Table.load(path)
    assert set(known.seconds) == set(keys)
    asked = interrupting(monkeypatch, after=0)  # nothing is left to ask for
    assert quick(fn, X, KERNEL, path=path) == known


def test_only_missing_algorithms_are_measured_again(monkeypatch, tmp_path):
    path = tmp_path / "times.json"
    kernel = jax.ShapeDtypeStruct((3, 3, 3), jnp.float32)
    quick(conv, X, kernel, path=path)
    asked = interrupting(monkeypatch, after=9)
    known = quick(conv, X, kernel, path=path, algorithms=["im2col", "winograd"])
    ((key, times),) = known.seconds.items()
    assert asked == [(key, ["direct", "winograd"])]
    assert set(times) == {"direct", "im2col", "winograd"}
    assert times["direct"] < times["winograd"] == 1.0  # the smaller of both


def test_what_is_in_the_file_stays(monkeypatch, tmp_path):
    path = tmp_path / "times.json"
    interrupting(monkeypatch, after=9)
    quick(conv, X, KERNEL, path=path)
    quick(conv, jax.ShapeDtypeStruct((7, 9, 3), jnp.float32), KERNEL, path=path)
    assert set(Table.load(path).seconds) == {FORWARD, FORWARD.replace("n2", "n7")}


@pytest.mark.parametrize("field", ["device_kind", "jaxlib"])
def test_a_file_of_another_device_is_refused_before_anything_is_measured(field, monkeypatch, tmp_path):
    path = tmp_path / "times.json"
    fields = {"device_kind": "cpu", "jaxlib": tuning.version.__version__} | {field: "another"}
    Table("cpu", **fields).save(path)
    interrupting(monkeypatch, after=0)
    with pytest.raises(ValueError, match=f"different {field} do not merge"):
        quick(conv, X, KERNEL, path=path)
    assert Table.load(path).device_kind == fields["device_kind"]


def test_max_seconds(monkeypatch, capsys):
    asked = interrupting(monkeypatch, after=9)
    assert len(quick(jax.grad(loss), X, KERNEL, max_seconds=0, progress=True)) == 0
    assert "max_seconds=0 are over" in capsys.readouterr().err
    assert asked == []
    assert len(quick(jax.grad(loss), X, KERNEL, max_seconds=1000)) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"algorithms": ["fast"]}, "algorithms has 'fast', which is not known; use direct, "),
        ({"algorithms": "direct"}, "algorithms='direct' is a name; wanted a sequence"),
        ({"repeats": 0}, "repeats=0 must be at least 1"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        quick(conv, X, KERNEL, **options)


# Progress


def report_three():
    with reporting(3, True) as report:
        report("first [1]", 1)
        report("remark", 0)
        report("second", 1)
        report("third", 1)


def test_progress_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    report_three()
    out, err = capsys.readouterr()
    assert out == ""
    lines = ["[1/3, 0 s left] first [1]", "[1/3, 0 s left] remark", "[2/3, 0 s left] second", "[3/3] third"]
    assert err.splitlines() == lines


def test_progress_with_rich(capsys):
    pytest.importorskip("rich")
    report_three()
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if "measuring" not in line]
    assert lines == ["first [1]", "remark", "second", "third"]
    assert "3/3" in err


def test_progress_can_be_silent(capsys):
    quick(conv, X, KERNEL)
    assert capsys.readouterr() == ("", "")
    quick(conv, X, KERNEL, progress=True)
    assert FORWARD in capsys.readouterr().err
