"""Random convolutions of lax, and what autodiff and batching make of them: installed equals stock.

`JAXCONV_SWEEP=500 pytest tests/test_dropin_sweep.py` tries as many.
"""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv import dropin
from jaxconv.lowerings import Target
from jaxconv.planner import execute, readings

CHUNK = 6  # convolutions in a test
TRIALS = int(os.environ.get("JAXCONV_SWEEP", "12"))
# Sums of up to 500 products of normal numbers, in another order: a few eps of the sum of magnitudes, which is
# below ten times the largest result; a second derivative has four such sums in a row.
TOLERANCE = 3e-5


def random_call(r: random.Random) -> tuple[Callable, tuple[int, ...], tuple[int, ...]]:
    """A call of lax's function that is valid, and the shapes of its operands."""
    while True:
        rank = r.choice((1, 2, 2, 2, 3))
        groups = r.choice((1, 1, 2, 3))
        batched = groups > 1 and r.random() < 0.3  # groups of the batch
        batch = r.choice((1, 2, 3)) * (groups if batched else 1)
        inputs, outputs = r.choice((1, 2, 4)), groups * r.choice((1, 2, 3))

        def per_axis(*values: int, rank: int = rank) -> list[int]:
            return [r.choice(values) for _ in range(rank)]

        size, taps = per_axis(1, 4, 7, 9), per_axis(1, 2, 3, 5)
        ambiguous = r.random()
        if ambiguous < 0.15:
            taps = list(size)  # the kernel is the map
        elif ambiguous < 0.3:
            size = [1] * rank
        kind = r.random()
        options: dict[str, Any] = {
            "window_strides": per_axis(1, 2, 3) if kind < 0.6 else [1] * rank,
            "lhs_dilation": per_axis(1, 2, 3) if kind > 0.55 else [1] * rank,
            "rhs_dilation": (dilation := per_axis(1, 1, 2)),
            "feature_group_count": 1 if batched else groups,
            "batch_group_count": groups if batched else 1,
        }
        # More padding than the kernel spans has a gradient of negative padding, which XLA gets wrong on CPU.
        most = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
        options["padding"] = [(r.randint(0, min(2, m)), r.randint(0, min(3, m))) for m in most]
        orders = [r.sample(range(rank + 2), rank + 2) for _ in range(3)]
        options["dimension_numbers"] = lax.ConvDimensionNumbers(*map(tuple, orders))

        def placed(sizes: list[int], order: list[int]) -> tuple[int, ...]:
            return tuple(n for _, n in sorted(zip(order, sizes, strict=True)))

        features = inputs if batched else groups * inputs
        x_shape = placed([batch, features, *size], orders[0])
        w_shape = placed([outputs, inputs, *taps], orders[1])

        def call(x: jax.Array, w: jax.Array, options: dict[str, Any] = options) -> jax.Array:
            return lax.conv_general_dilated(x, w, **options)

        try:
            y = jax.eval_shape(call, jnp.zeros(x_shape), jnp.zeros(w_shape))
        except ValueError:
            continue
        if 0 not in y.shape:
            return call, x_shape, w_shape


def everything(f: Callable) -> Callable:
    """The function with its derivatives of first and second order, and batches of either operand and both."""

    def compute(xs: jax.Array, ws: jax.Array, gs: jax.Array) -> dict[str, Any]:
        (x, tx), (w, tw), g = xs, ws, gs[0]

        def loss(x: jax.Array, w: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(f(x, w)))

        def pullback(x: jax.Array, w: jax.Array, g: jax.Array) -> Any:
            return jax.vjp(f, x, w)[1](g)

        return {
            "jvp": jax.jvp(f, (x, w), (tx, tw)),
            "vjp": pullback(x, w, g),
            "hessian": jax.jvp(jax.grad(loss, (0, 1)), (x, w), (tx, tw)),
            "vmap x": jax.vmap(pullback, (0, None, 0))(xs, w, gs),
            "vmap kernel": jax.vmap(pullback, (None, 0, 0))(x, ws, gs),
            "vmap": jax.vmap(pullback)(xs, ws, gs),
        }

    return compute


def arrays(f: Callable, x_shape: tuple[int, ...], w_shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    y = jax.eval_shape(f, jnp.zeros(x_shape), jnp.zeros(w_shape))
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((2, *shape)).astype(np.float32) for shape in (x_shape, w_shape, y.shape)]


def compiled(f: Callable) -> Callable:
    """Compiled without optimisations, which take most of the time of this test."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("chunk", range(-(-TRIALS // CHUNK)))
def test_installed_equals_stock(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second time no convolution is left to lax, not even one that `direct` computes as it stands."""
    if chunk % 2:
        monkeypatch.setattr(dropin, "_as_good", lambda *_: False)
    r = random.Random(chunk)
    tried = [random_call(r) for _ in range(CHUNK)]
    args = [arrays(*call, seed=i) for i, call in enumerate(tried)]

    def compute(args: list[Any]) -> list[Any]:
        return [everything(f)(*given) for (f, *_), given in zip(tried, args, strict=True)]

    want = compiled(compute)(args)
    with jaxconv.installed():
        got = compiled(compute)(args)
    for number, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        for (path, a), (_, b) in zip(*map(jax.tree.leaves_with_path, (ours, theirs)), strict=True):
            assert a.dtype == b.dtype
            error, scale = np.max(np.abs(a - b)), np.max(np.abs(b))
            assert error <= TOLERANCE * max(scale, 1), (number, jax.tree_util.keystr(path), error, scale)


def equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive is lax.conv_general_dilated_p:
            yield equation
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                yield from equations(value.jaxpr)


@pytest.mark.parametrize("seed", range(3))
def test_all_readings_of_an_equation_agree(seed: int) -> None:
    """Also those that the planner would not take, since it goes by what it expects to be fast."""
    r = random.Random(100 + seed)
    found: list[Any] = []
    for _ in range(4):
        f, *shapes = random_call(r)
        traced = jax.make_jaxpr(everything(f))(*arrays(f, *shapes, seed=0))
        found += list(equations(traced.jaxpr))
    distinct = list({str((e, [v.aval for v in e.invars])): e for e in found}.values())
    target, rng = Target("cpu", jnp.dtype(jnp.float32)), np.random.default_rng(0)
    operands = [[rng.standard_normal(v.aval.shape).astype(np.float32) for v in e.invars] for e in distinct]
    read = [readings(*(v.aval.shape for v in e.invars), **e.params) for e in distinct]
    assert {reading.slot for several in read for reading in several} == {
        "forward",
        "input_grad",
        "weight_grad",
    }

    @compiled
    def compute(operands: list[Any]) -> list[Any]:
        return [
            (
                lax.conv_general_dilated_p.bind(*pair, **equation.params),
                [r.result(execute(r.slot, r.spec, target, "direct", *r.operands(*pair))) for r in several],
            )
            for equation, several, pair in zip(distinct, read, operands, strict=True)
        ]

    for want, several in compute(operands):
        for got in several:
            assert got.shape == want.shape
            assert np.max(np.abs(got - want)) <= TOLERANCE * max(1, np.max(np.abs(want)))
