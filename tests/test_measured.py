"""Which table decides, when, and that jit's cache knows."""

import contextlib
import functools
import itertools
import re
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv
from jaxconv.lowerings import REGISTRY, Lowering
from jaxconv.lowerings._base import Work
from jaxconv.planner import Table, measured, shipped
from tests.tables import KERNEL, KEY, SPEC, X, table

MARK = 1234.0


def conv(x, kernel, **options):
    return jaxconv.conv(x, kernel, padding=(0, 1), **options)


@pytest.fixture
def marked(monkeypatch):
    """An algorithm whose result tells it apart, and the list of platforms that it was lowered for."""
    platforms = []

    def run(slot, spec, target, *_):
        platforms.append(target.platform)
        return jnp.full(spec.result_shape(slot), MARK, target.dtype)

    costly = Work(((10**15, 1, 1, 1),), 10**15, 10**15, 10**6)  # nothing but a table ever chooses it
    monkeypatch.setitem(REGISTRY, "marked", Lowering("marked", lambda *_: None, run, lambda *_: costly))
    return platforms


def is_marked(y) -> bool:
    return bool((y == MARK).all())


def ship(monkeypatch, folder, **tables):
    """Installs tables as if they came with the library; their cache is a new one."""
    for name, shipped_table in tables.items():
        shipped_table.save(folder / f"{name}.json")
    (folder / "README.md").write_text("no table")
    monkeypatch.setattr(measured, "shipped", functools.cache(shipped.__wrapped__))
    monkeypatch.setattr(measured, "_folder", lambda: folder)


def jaxlib_of(found):
    return found and found.jaxlib


def decision(**options):
    chosen = next(c for c in jaxconv.plan(SPEC, platform="cpu", **options).candidates if c.chosen)
    return chosen.name, chosen.reason


def lowered(algorithm=None):
    return jax.jit(functools.partial(conv, algorithm=algorithm)).lower(X, KERNEL).as_text()


@pytest.mark.parametrize("present", list(itertools.product([False, True], repeat=4)))
def test_precedence(present, monkeypatch, tmp_path):
    forced, inner, outer, installed = present
    unmeasured = decision()
    if installed:
        ship(monkeypatch, tmp_path, a=table({"im2col": 1.0, "direct": 2.0}))
    first = table({"im2col": 1.2e-3, "direct": 3.4e-3} if inner else None)
    second = table({"winograd": 5.0} if outer else None)
    wanted = unmeasured
    if installed:
        wanted = "im2col", "measured: 1 s, direct 2 s (table of this device kind)"
    if outer:
        wanted = "winograd", "measured: 5 s (active table)"
    if inner:
        wanted = "im2col", "measured: 1.2 ms, direct 3.4 ms (active table)"
    if forced:
        wanted = "winograd", "forced"
    with second, first:
        assert decision(algorithm="winograd" if forced else None) == wanted
        program = lowered()
    if not forced:  # what the plan says is what the lowering does
        assert program == lowered(wanted[0])
    assert jaxconv.plan(SPEC, platform="cuda") == jaxconv.plan(SPEC, platform="cuda")


def test_entries_that_cannot_decide_are_skipped():
    unmeasured = decision()
    with table({"subpixel": 1.0, "not yet invented": 1.0}):
        assert decision() == unmeasured
    with table({"subpixel": 1.0, "not yet invented": 1.0, "im2col": 2.0}):
        assert decision()[0] == "im2col"
    with table({"im2col": 2.0}), table({"subpixel": 1.0}):
        assert decision()[0] == "im2col"


def test_a_plan_shows_what_was_measured():
    with table({"im2col": 1.2e-3, "direct": 3.4e-3}):
        plan = jaxconv.plan(SPEC, platform="cpu")
        forced = jaxconv.plan(SPEC, platform="cpu", algorithm="direct")
    seconds = {c.name: c.seconds for c in plan.candidates if c.seconds is not None}
    assert seconds.items() >= {"im2col": 1.2e-3, "direct": 3.4e-3}.items()
    assert "-> im2col: measured: 1.2 ms, direct 3.4 ms (active table)" in str(plan)
    assert re.search(r"direct: applies, but im2col is preferred \(.*, 3.4 ms\)", str(plan))
    assert re.search(r"im2col: applies, but direct is preferred \(.*, 1.2 ms\)", str(forced))
    predicted = {c.name: c.seconds for c in jaxconv.plan(SPEC, platform="cpu").candidates}
    assert predicted["im2col"] not in (None, 1.2e-3)
    assert all(c.seconds is None for c in jaxconv.plan(SPEC, platform="tpu").candidates)


def test_shipped_tables(monkeypatch, tmp_path):
    here = jax.devices()[0].device_kind
    running = measured.version.__version__
    ship(
        monkeypatch,
        tmp_path,
        a=table({"direct": 1.0}, "cpu", "another kind"),
        b=table({"direct": 2.0}, "cpu", here, running),
        c=table({"direct": 3.0}, "cpu", here, "0.0.1"),
        d=table({"direct": 4.0}, "cuda", "NVIDIA H100"),
    )
    assert measured.shipped("cpu") == table({"direct": 2.0}, "cpu", here, running)
    assert measured.shipped("cuda") is None  # there is no such device here
    assert measured.shipped("tpu") is None
    (tmp_path / "b.json").unlink()
    assert jaxlib_of(measured.shipped("cpu")) == running  # read once
    ship(monkeypatch, tmp_path)
    assert jaxlib_of(measured.shipped("cpu")) == "0.0.1"


def test_a_damaged_installation_says_which_file(monkeypatch, tmp_path):
    ship(monkeypatch, tmp_path)
    (tmp_path / "cpu.json").write_text("{")
    with pytest.raises(ValueError, match=r"cpu\.json is no tuning table"):
        measured.shipped("cpu")


def test_the_installation_has_a_folder_or_none():
    folder = measured._folder()
    assert str(folder) == str(Path(measured.__file__).parent / "tables")
    assert all(isinstance(t, Table) for t in measured._read(folder))


# The active table and jit's cache


def test_a_cached_program_is_compiled_anew_and_found_again(marked):
    traces = []

    @jax.jit
    def f(x, kernel):
        traces.append(x)
        return conv(x, kernel)

    fast = table({"marked": 1.0})
    before = f(X, KERNEL)
    assert not is_marked(before)
    for _ in range(2):
        with fast:
            assert is_marked(f(X, KERNEL))
        with table({"marked": 1.0}):  # equal, so that its program is the same
            assert is_marked(f(X, KERNEL))
        assert (f(X, KERNEL) == before).all()
    assert (len(traces), marked) == (2, ["cpu"])


def test_a_cached_operator_is_too(marked):
    assert not is_marked(conv(X, KERNEL))
    with table({"marked": 1.0}):
        assert is_marked(conv(X, KERNEL))
    assert not is_marked(conv(X, KERNEL))
    assert marked == ["cpu"]


def test_the_text_of_a_program_changes_and_changes_back():
    f = jax.jit(conv)
    before = f.lower(X, KERNEL).as_text()
    texts = {}
    for name in ("direct", "im2col", "winograd"):
        with table({name: 1.0}):
            texts[name] = f.lower(X, KERNEL).as_text()
    assert len(set(texts.values())) == 3
    assert f.lower(X, KERNEL).as_text() == before


@pytest.mark.usefixtures("marked")
def test_tracing_and_lowering_may_be_apart():
    traced = jax.jit(conv).trace(X, KERNEL)
    outside = traced.lower().compile()
    with table({"marked": 1.0}):
        inside = traced.lower().compile()
        assert not is_marked(outside(X, KERNEL))  # compiled is compiled
    assert is_marked(inside(X, KERNEL))


@pytest.mark.usefixtures("marked")
def test_contexts_nest():
    f = jax.jit(conv)
    fast, other = table({"marked": 1.0}), table({"direct": 1.0})
    with fast as entered:
        assert entered is fast
        with other:
            assert not is_marked(f(X, KERNEL))
            with fast:
                assert is_marked(f(X, KERNEL))
            assert not is_marked(f(X, KERNEL))
        assert is_marked(f(X, KERNEL))
        with table({"direct": 1.0}, key=KEY.replace("n2", "n9")):  # does not know this one
            assert is_marked(f(X, KERNEL))
    assert not is_marked(f(X, KERNEL))


@pytest.mark.usefixtures("marked")
def test_an_error_leaves_the_context():
    with pytest.raises(ZeroDivisionError), table({"marked": 1.0}):
        raise ZeroDivisionError
    assert not is_marked(jax.jit(conv)(X, KERNEL))


@pytest.mark.usefixtures("marked")
def test_a_context_is_its_threads_own():
    f = jax.jit(conv)
    inside, leave, results = threading.Event(), threading.Event(), {}

    def other():
        with table({"marked": 1.0}):
            results["inside"] = is_marked(f(X, KERNEL))
            inside.set()
            leave.wait(60)
            results["still inside"] = is_marked(f(X, KERNEL))
        results["left"] = is_marked(f(X, KERNEL))

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(60)
    assert not is_marked(f(X, KERNEL))
    with table({"marked": 1.0}):
        with table({"direct": 1.0}):
            leave.set()  # the other thread leaves its context while this one is inside of two
            thread.join()
            assert not is_marked(f(X, KERNEL))
        assert is_marked(f(X, KERNEL))
    assert not is_marked(f(X, KERNEL))
    assert results == {"inside": True, "still inside": True, "left": False}


@pytest.mark.usefixtures("marked")
def test_inside_of_transformations():
    """The table decides about the convolution that is computed: a batched one, a gradient, a loop's body."""
    xs = jnp.ones((5, *X.shape))
    with table({"marked": 1.0}, key=KEY.replace("n2", "n10")):
        assert is_marked(jax.jit(jax.vmap(conv, (0, None)))(xs, KERNEL))
        assert not is_marked(jax.jit(conv)(X, KERNEL))
    with table({"marked": 1.0}, key=KEY.replace("forward", "weight_grad")):
        gradients = jax.jit(jax.grad(lambda x, k: conv(x, k).sum(), (0, 1)))(X, KERNEL)
        assert [is_marked(g) for g in gradients] == [False, True]
    with table({"marked": 1.0}):
        _, ys = jax.jit(lambda xs: lax.scan(lambda c, x: (c, conv(x, KERNEL)), 0, xs))(xs)
        assert is_marked(ys)
    assert not is_marked(jax.jit(jax.vmap(conv, (0, None)))(xs, KERNEL))


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda",), ("cuda", "cpu"), ("tpu",), ()])
def test_a_table_is_for_its_platform(platforms, marked):
    def export():
        return jax.export.export(jax.jit(conv), platforms=("cpu", "cuda", "tpu"))(X, KERNEL).mlir_module()

    plain = export()
    with contextlib.ExitStack() as stack:
        for platform in platforms:
            stack.enter_context(table({"marked": 1.0}, platform))
        inside = export()
    assert sorted(marked) == sorted(platforms)
    assert (inside == plain) == (not platforms)
