"""The graph of a function: of four libraries' models, of loops, of gradients."""

import dataclasses
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

import jaxconv
from jaxconv.geometry import SAME, Taps
from jaxconv.graph import OPS, Conv, Graph, Node, trace
from tests.test_dropin_models import MODELS

LAYOUT = ("NHWC", "HWIO", "NHWC")


def shaped(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convs(graph: Graph) -> list[Node]:
    return [node for node, _ in graph.walk() if node.op == "conv"]


def known(graph: Graph) -> list[Conv]:
    return [node.conv for node in convs(graph) if node.conv]


NAMES = {
    "flax nnx": ["plain", "strided", "grouped", "dilated", "up"],
    "flax linen": ["Conv_0", "Conv_1", "Conv_2", "Conv_3", "ConvTranspose_0"],
    "equinox": ["layers/0", "layers/2", "layers/4", "layers/6", "layers/8"],
    "haiku": ["conv2_d", "conv2_d_1", "depthwise_conv2_d", "conv2_d_2", "conv2_d_transpose"],
}


@pytest.mark.parametrize("name", NAMES)
def test_models(name: str) -> None:
    model = MODELS[name]()
    graph = trace(model.predict, model.params, shaped(*model.arrays()[0].shape))
    found = convs(graph)
    assert [node.layer for node in found] == NAMES[name]
    assert [(conv.slot, conv.by) for conv in known(graph)] == [
        *4 * [("forward", "lax")],
        ("input_grad", "lax"),
    ]
    spatial = (2, 3) if model.channels_first else (1, 2)
    assert {tuple(w.operand_dim for w in node.windows) for node in found} == {spatial}


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([jaxconv.nn.Conv(2, 4, (3, 3), rngs=rngs)])
        self.up = jaxconv.nn.ConvTranspose(4, 1, (2, 2), strides=(2, 2), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return self.up(x)


def test_a_model_is_a_function_with_its_parameters() -> None:
    """By itself without arrays, closed over, and through transformations; the layers keep their names."""
    x, abstract = shaped(1, 6, 4, 2), nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    net = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), abstract)
    for prefix, graph in {
        "": trace(abstract, x),
        "net/": trace(lambda x: net(x), x),
        "m/": trace((lambda m: jax.jit(lambda x: jax.checkpoint(m)(x)))(net), x),
    }.items():
        assert [n.layer for n in convs(graph)] == [f"{prefix}layers/0", f"{prefix}up"]
        assert [(conv.slot, conv.by) for conv in known(graph)] == [
            ("forward", "jaxconv"),
            ("input_grad", "jaxconv"),
        ]
        names = {v.name.removeprefix(prefix) for v in graph.inputs if v.name not in ("x", "")}
        assert names == {"layers/0/kernel", "layers/0/bias", "up/kernel", "up/bias"}


def test_scopes_name_what_has_no_parameters() -> None:
    class Block(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.max_pool(linen.Conv(2, (3,), name="mix")(x), (2,), (2,))

    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.remat(Block)(name="first")(x)

    params = jax.eval_shape(Outer().init, jax.random.key(0), shaped(1, 8, 2))
    graph = trace(jax.grad(lambda p, x: jnp.sum(Outer().apply(p, x))), params, shaped(1, 8, 2))
    pools = [node for node in graph.nodes if node.op == "window"]
    assert {node.layer for node in pools} == {"Outer/first"}
    assert {node.layer for node in convs(graph)} >= {"first/mix"}
    plain = trace(lambda x: jax.nn.relu(x), shaped(3))
    assert (plain.nodes[0].layer, "test_graph.py" in plain.nodes[0].source) == ("", True)
    assert plain.nodes[0].source in str(plain)


def test_every_call_is_opened_and_every_node_follows_its_operands() -> None:
    @jax.custom_vjp
    def square(x: Any) -> Any:
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))
    inner = jax.jit(jax.checkpoint(lambda x: jax.nn.relu(square(x)) @ jnp.ones((3, 3))))
    graph = trace(lambda x: jax.vmap(inner)(jax.jit(jnp.sin)(x)), shaped(2, 4, 3))
    assert [node.name for node in graph.nodes if node.op not in ("broadcast", "constant")] == [
        "sin",
        "mul",
        "max",
        "dot_general",
    ]
    seen = set(graph.inputs)
    for node in graph.nodes:
        assert all(v in seen or v.kind == "literal" for v in node.operands)
        assert all(v.node is node for v in node.results)
        seen |= set(node.results)
    assert set(graph.outputs) <= seen


def test_results_of_calls_with_derivatives_of_their_own_are_no_operands() -> None:
    same = jax.custom_vjp(lambda x: (x, x, 5.0))
    same.defvjp(lambda x: (same(x), None), lambda _, g: (g[0],))

    def fn(x: Any) -> Any:
        return same(x)

    graph = trace(fn, shaped(3))
    assert [(node.name, node.results[0].shape) for node in graph.nodes] == [
        ("copy", s) for s in ((3,), (3,), ())
    ]
    [call] = graph.calls
    assert (call.start, call.stop) == (0, 3)
    assert all(node.source.endswith("fn") for node in graph.nodes)
    assert len({*call.operands, *call.results}) == 4


def test_gradients_are_the_slots_that_they_are() -> None:
    """Of lax's convolutions and of ours; a forward one whose kernel covers the map is still forward."""

    def lax_net(kernel: Any, x: Any) -> Any:
        y = lax.conv_general_dilated(x, kernel, (2, 2), ((1, 0), (0, 1)), dimension_numbers=LAYOUT)
        return (y**2).sum()

    def our_net(kernel: Any, x: Any) -> Any:
        return (jaxconv.conv(x, kernel, stride=2, padding=((1, 0), (0, 1))) ** 2).sum()

    for net in (lax_net, our_net):
        graph = trace(jax.grad(net, (0, 1)), shaped(3, 3, 2, 4), shaped(1, 9, 8, 2))
        assert Counter(conv.slot for conv in known(graph)) == Counter(
            ["forward", "weight_grad", "input_grad"]
        )
        tight = {
            tuple(dataclasses.replace(a, hi=a.tight_hi) for a in conv.spec.axes) for conv in known(graph)
        }
        assert len(tight) == 1
    whole = lambda p, x: lax.conv_general_dilated(x, p["k"], (1, 1), "VALID", dimension_numbers=LAYOUT)  # noqa: E731
    [conv] = known(trace(whole, {"k": shaped(5, 5, 2, 4)}, shaped(1, 5, 5, 2)))
    assert conv.slot == "forward"


def test_windows() -> None:
    def taps(fn: Any, *args: Any) -> list[tuple[int, int, Any, bool]]:
        [node] = [n for n in trace(fn, *args).nodes if n.windows]
        return [(w.operand_dim, w.result_dim, w.taps, w.sums) for w in node.windows]

    x = shaped(2, 8, 9, 3)
    pool = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 1, 1), (1, 2, 1, 1), "VALID")  # noqa: E731
    assert taps(pool, x) == [(1, 1, Taps(1, 2, ((0, 1, 2),)), True)]
    assert taps(lambda x: x[:, 1:, ::3], x) == [
        (1, 1, Taps(1, 1, ((1,),)), False),
        (2, 2, Taps(1, 3, ((0,),)), False),
    ]
    assert taps(lambda x: x[:, ::-1], x) == [(1, 1, Taps(1, -1, ((7,),)), False)]
    padded = lambda x: lax.pad(x, 0.0, ((0, 0, 0), (2, -1, 1), (0, 0, 0), (0, 0, 0)))  # noqa: E731
    assert taps(padded, x) == [(1, 1, Taps(2, 1, ((-1,), ())), False)]
    up = lambda x, k: jaxconv.conv_transpose(x, k, stride=(2, 1))  # noqa: E731
    found = taps(up, x, shaped(2, 1, 4, 3))
    assert found == [(1, 1, Taps(2, 1, ((0,), (0,))), True), (2, 2, SAME, True)]

    def swapped(x: Any, k: Any) -> Any:
        return lax.conv_general_dilated(x, k, (3, 1), "VALID", dimension_numbers=("NWHC", "WHIO", "CHNW"))

    moved = [(a, b, t.advance) for a, b, t, _ in taps(swapped, x, shaped(2, 1, 3, 4))]
    assert moved == [(1, 3, 3), (2, 1, 1)]


def test_resizes_are_windows() -> None:
    """A product with a matrix of the shapes' making, or rows taken by such indices; a dense one is none."""
    x = shaped(1, 4, 6, 2)
    graph = trace(lambda x: jax.image.resize(x, (1, 8, 6, 2), "linear"), x)
    [node] = [node for node in graph.nodes if node.op == "resize"]
    [window] = node.windows
    assert node.operands[window.operand].shape == x.shape
    assert (window.operand_dim, window.taps) == (1, Taps(2, 1, ((-1, 0), (0, 1))))
    assert window.rows == ((0,), (0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3), (3,))
    graph = trace(lambda x: jax.image.resize(x, (1, 4, 3, 2), "nearest"), x)
    [window] = [w for node in graph.nodes if node.op == "gather" for w in node.windows]
    assert (window.operand_dim, window.result_dim, window.rows) == (2, 2, ((1,), (3,), (5,)))
    assert {node.op for node in trace(lambda x: x @ jnp.ones((2, 5)), x).nodes} >= {"dot"}


def test_loops_and_branches_keep_their_bodies() -> None:
    kernel = jnp.ones((5, 3, 3, 2, 2))

    def fn(flag: Any, x: Any, ks: Any) -> Any:
        conv = lambda x, k: jaxconv.conv(x, k, padding=1)  # noqa: E731
        x = lax.scan(lambda x, k: (conv(x, k), None), x, ks["k"])[0]
        x = lax.while_loop(lambda x: x.sum() < 3, lambda x: conv(x, ks["k"][0]), x)
        return lax.cond(flag, lambda x: conv(x, ks["k"][1]), lambda x: -x, x)

    graph = trace(fn, jax.ShapeDtypeStruct((), bool), shaped(1, 8, 8, 2), {"k": kernel})
    kept = [node for node in graph.nodes if node.bodies]
    assert [(n.name, n.op, n.length, len(n.bodies)) for n in kept] == [
        ("scan", "loop", 5, 1),
        ("while", "loop", None, 1),
        ("cond", "branch", 1, 2),
    ]
    assert [count for node, count in graph.walk() if node.op == "conv"] == [5, 1, 1]
    step = kept[0].bodies[0]
    assert step.inputs[0].outer is kept[0].operands[0]
    assert str(graph).count("\n  conv conv_forward") == 3


def test_kinds() -> None:
    def fn(x: Any) -> Any:
        a, b = jnp.split(jnp.concatenate([x, jnp.cumsum(x, 1)], 1), 2, 1)
        c = jnp.moveaxis(a[:, ::-1], 0, 1)[jnp.array([0, 2, 1])]
        return (
            jnp.fft.fft(b),
            c.max(0),
            jnp.pad(x, 1),
            lax.dynamic_slice(x, (0, 1), (2, 2)) @ jnp.ones((2, 2)),
        )

    found = {node.name: node.op for node in trace(fn, shaped(2, 4)).nodes}
    kinds = {"cumsum": "cumulative", "concatenate": "concatenate", "split": "split", "rev": "reverse"}
    kinds |= {
        "transpose": "transpose",
        "gather": "gather",
        "fft": "opaque",
        "reduce_max": "reduce",
        "pad": "pad",
    }
    kinds |= {"dynamic_slice": "dynamic_slice", "dot_general": "dot"}
    assert kinds.items() <= found.items()
    assert set(found.values()) < set(OPS)


def test_arguments() -> None:
    """Leaves that are no arrays are handed over; results keep their tree; constants appear once."""
    table = jnp.arange(6.0)

    def fn(x: Any, scale: float, options: dict[str, Any], *, flip: bool) -> Any:
        assert isinstance(scale, float)
        assert flip is True
        return {"y": x * scale + options["b"] + table, "z": table}

    graph = trace(fn, np.ones((2, 6), np.float32), 0.5, {"b": shaped(6), "name": "n"}, flip=True)
    assert [(v.kind, v.name, v.argument, v.bare) for v in graph.inputs] == [
        ("argument", "x", 0, True),
        ("argument", "b", 2, False),
        ("constant", "table", None, False),
    ]
    assert jax.tree.unflatten(graph.tree, [v.shape for v in graph.outputs]) == {"y": (2, 6), "z": (6,)}
    assert graph.data(None) is graph.inputs[0]
    with pytest.raises(ValueError, match="fn=None of type NoneType must be a function"):
        trace(None)

    def later(x: Any) -> Any:
        return x if x.ndim == 1 else table_of_rows[x]

    assert len(trace(later, shaped(3)).inputs) == 1
    table_of_rows = table
