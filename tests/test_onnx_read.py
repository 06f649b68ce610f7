"""Networks read from ONNX against onnxruntime, and under JAX's transformations."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from jaxconv.interop import onnx

NUMBERS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def written(
    nodes: list[Any],
    arrays: dict[str, np.ndarray],
    x: np.ndarray,
    *,
    opset: int = 17,
    outputs: dict[str, Any] | None = None,
    batch: Any = None,
) -> bytes:
    kind = NUMBERS[x.dtype]
    infos = [helper.make_tensor_value_info(n, dtype, None) for n, dtype in (outputs or {"y": kind}).items()]
    shape = [batch or x.shape[0], *x.shape[1:]]
    tensors = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", kind, shape)], infos, tensors)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def agree(data: bytes, x: np.ndarray, *, scale: float = 1.0) -> onnx.Network:
    """Raises if onnxruntime computes something else; the error of K terms is below K eps of the largest."""
    network = onnx.load(data)
    results = network(network.params, x)
    wanted: Any = onnxruntime.InferenceSession(data).run(None, {"x": x})
    for got, want in zip(results if isinstance(results, tuple) else (results,), wanted, strict=True):
        assert got.shape == want.shape
        eps = float(jnp.finfo(x.dtype).eps) if want.dtype.kind == "f" else 0.0
        tolerance = 16 * eps * scale * max(float(np.abs(want).max()), 1.0)
        np.testing.assert_allclose(np.asarray(got, float), want.astype(float), rtol=0, atol=tolerance)
    return network


def random_conv(
    rng: np.random.Generator, name: str, inner: str, channels: int
) -> tuple[list[Any], dict[str, Any], int]:
    """One convolution, transposed or not, with attributes at random, and what goes with it."""
    transposed, groups = bool(rng.integers(2)), int(rng.choice([1, 2]))
    out = int(rng.choice([2, 4, 6]))
    window = [int(n) for n in rng.integers(1, 4, 2)]
    shape = (channels, out // groups, *window) if transposed else (out, channels // groups, *window)
    attributes: dict[str, Any] = {"group": groups, "strides": [int(n) for n in rng.integers(1, 3, 2)]}
    if transposed:
        attributes["output_padding"] = [int(rng.integers(s)) for s in attributes["strides"]]
    attributes["dilations"] = [int(n) for n in rng.integers(1, 3, 2)]
    how = rng.choice(["pads", "SAME_UPPER", "SAME_LOWER", "VALID"] if not transposed else ["pads", "VALID"])
    if how == "pads":
        attributes["pads"] = [int(rng.integers(k)) for k in (*window, *window)]
    else:
        attributes["auto_pad"] = str(how)
        attributes["dilations"] = [1, 1]  # onnxruntime has no other with SAME
    arrays = {f"{name}.w": rng.standard_normal(shape), f"{name}.b": rng.standard_normal(out)}
    operator = "ConvTranspose" if transposed else "Conv"
    return [helper.make_node(operator, [inner, *arrays], [name], **attributes)], arrays, out


AFTER = {
    "BatchNormalization": ("scale bias mean var", {"epsilon": 1e-3}),
    "InstanceNormalization": ("scale bias", {}),
    "PRelu": ("slope", {}),
    "HardSwish": ("", {}),
    "LeakyRelu": ("", {"alpha": 0.3}),
    "MaxPool": ("", {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 0, 0, 2]}),
    "AveragePool": ("", {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "ceil_mode": 1, "strides": [2, 1]}),
}


def random_network(rng: np.random.Generator, depth: int = 3) -> tuple[bytes, np.ndarray]:
    x = rng.standard_normal((2, 4, 13, 17)).astype(np.float32)
    nodes, arrays, inner, channels = [], {}, "x", 4
    for i in range(depth):
        more, weights, channels = random_conv(rng, f"c{i}", inner, channels)
        op = str(rng.choice(list(AFTER)))
        names, attributes = AFTER[op]
        extra = {f"{name}{i}": np.abs(rng.standard_normal(channels)) + 0.5 for name in names.split()}
        if op == "PRelu":
            extra = {name: a.reshape(-1, 1, 1) for name, a in extra.items()}
        nodes += [*more, helper.make_node(op, [f"c{i}", *extra], [f"a{i}"], **attributes)]
        arrays |= weights | extra
        inner = f"a{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [inner], ["y"]))
    return written(nodes, {n: a.astype(np.float32) for n, a in arrays.items()}, x), x


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_random_networks(seed: int) -> None:
    data, x = random_network(np.random.default_rng(seed))
    agree(data, x, scale=30)


RESIZES = [
    ("nearest", "asymmetric", "floor", [1, 1, 2, 3], 13),
    ("nearest", "half_pixel", "round_prefer_floor", [1, 1, 0.6, 1.7], 13),
    ("nearest", "half_pixel", "round_prefer_ceil", [1, 1, 2.5, 0.5], 13),
    ("nearest", "align_corners", "ceil", [1, 1, 1.5, 2], 13),
    ("nearest", "tf_half_pixel_for_nn", "floor", [1, 1, 0.7, 2], 11),
    ("linear", "half_pixel", "", [1, 1, 2, 0.6], 13),
    ("linear", "pytorch_half_pixel", "", [1, 1, 0.2, 2.3], 13),
    ("linear", "align_corners", "", [1, 1, 2, 3], 13),
    ("linear", "asymmetric", "", [1, 1, 1.7, 2], 13),
    ("cubic", "half_pixel", "", [1, 1, 2, 0.6], 13),
    ("cubic", "asymmetric", "", [1, 1, 1.7, 2], 13),
    ("cubic", "align_corners", "", [1, 1, 3, 2], 13),
    ("linear", None, "", [1, 1, 1.7, 2], 10),
    ("nearest", None, "", [1, 1, 0.6, 2], 10),
]


@pytest.mark.parametrize(("mode", "transform", "rounding", "scales", "opset"), RESIZES)
def test_resizes(
    mode: str, transform: str, rounding: str, scales: list[float], opset: int, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((1, 2, 5, 6)).astype(np.float32)
    attributes = {"mode": mode}
    if transform:
        attributes["coordinate_transformation_mode"] = transform
    if rounding:
        attributes["nearest_mode"] = rounding
    inputs = {10: ["x", "scales"], 11: ["x", "roi", "scales"]}.get(opset, ["x", "", "scales"])
    arrays = {"scales": np.array(scales, np.float32), "roi": np.zeros(0, np.float32)}
    node = helper.make_node("Resize", inputs, ["y"], **attributes)
    agree(written([node], arrays, x, opset=opset), x)


OLD = {
    "Upsample-7": (7, "Upsample", {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}, {}),
    "Upsample-9": (9, "Upsample", {"mode": "linear"}, {"s": np.array([1, 1, 2, 1.5], np.float32)}),
    "Slice-9": (9, "Slice", {"starts": [1, -3], "ends": [9, -1], "axes": [2, 3]}, {}),
    "Slice-13": (  # backwards from before the first position, which is then the first
        13,
        "Slice",
        {},
        {
            "starts": np.array([-9, 9, 4]),
            "ends": np.array([-99, 1, -99]),
            "axes": np.array([2, 3, 1]),
            "steps": np.array([-1, -2, -1]),
        },
    ),
    "GatherElements": (13, "GatherElements", {"axis": 2}, {"i": np.arange(6).reshape(1, 2, 3, 1) - 3}),
    "Pad-10": (10, "Pad", {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "mode": "reflect"}, {}),
    "Clip-10": (10, "Clip", {"min": -0.2, "max": 0.7}, {}),
    "Softmax-12": (12, "Softmax", {"axis": 2}, {}),
    "Softmax-13": (13, "Softmax", {"axis": 2}, {}),
    "ReduceSum-12": (12, "ReduceSum", {"axes": [1, -1], "keepdims": 0}, {}),
    "ReduceSum-13": (13, "ReduceSum", {"keepdims": 0}, {"axes": np.array([1, -1])}),
    "Squeeze-13": (13, "Unsqueeze", {}, {"axes": np.array([0, -1])}),
    "Reshape": (13, "Reshape", {}, {"shape": np.array([0, -1, 3])}),
    "Flatten": (13, "Flatten", {"axis": -2}, {}),
    "LpPool": (17, "LpPool", {"kernel_shape": [2, 3], "p": 3, "pads": [1, 0, 0, 2], "strides": [2, 1]}, {}),
    "LRN": (17, "LRN", {"size": 3, "alpha": 0.3, "bias": 1.5}, {}),
}


@pytest.mark.parametrize("name", OLD)
def test_operators_of_old_and_new_opsets(name: str, rng: np.random.Generator) -> None:
    opset, op, attributes, arrays = OLD[name]
    x = rng.standard_normal((2, 3, 5, 6)).astype(np.float32)
    agree(written([helper.make_node(op, ["x", *arrays], ["y"], **attributes)], arrays, x, opset=opset), x)


def test_max_pool_with_places_and_back(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 6, 9)).astype(np.float32)
    window = {"kernel_shape": [2, 3], "strides": [2, 3]}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m", "i"], **window),
        helper.make_node("MaxPool", ["x"], ["again", "j"], storage_order=1, **window),
        helper.make_node("MaxUnpool", ["m", "i"], ["y"], **window),
    ]
    outputs = {"m": TensorProto.FLOAT, "i": TensorProto.INT64, "j": TensorProto.INT64, "y": TensorProto.FLOAT}
    agree(written(nodes, {}, x, outputs=outputs), x)


@pytest.mark.parametrize(
    "attributes",
    [
        {"output_shape": [10, 11], "strides": [3, 2]},
        {"output_shape": [10, 11], "strides": [3, 2], "auto_pad": "SAME_UPPER"},
        {"output_shape": [10, 11], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
        {"auto_pad": "SAME_UPPER", "strides": [3, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 1], "group": 2},
        {"pads": [1, 0, 2, 1], "output_padding": [1, 1], "strides": [2, 3], "dilations": [2, 1]},
    ],
    ids=str,
)
def test_sizes_of_transposed_convolutions(attributes: dict[str, Any], rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 4, 4, 5)).astype(np.float32)
    weight = rng.standard_normal((4, 2, 3, 4)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    agree(written([node], {"w": weight}, x), x, scale=7)


def test_half_precision(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 2, 7, 8)).astype(np.float16)
    arrays = {"w": rng.standard_normal((4, 2, 3, 3)).astype(np.float16)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("HardSigmoid", ["c"], ["h"], alpha=0.1),
        helper.make_node("Mul", ["c", "h"], ["y"]),
    ]
    network = agree(written(nodes, arrays, x), x, scale=4)
    assert network.params["w"].dtype == network(network.params, x).dtype == jnp.float16


def shaped() -> tuple[bytes, np.ndarray]:
    """A network whose sizes are computed from the input's shape."""
    x = np.random.default_rng(5).standard_normal((2, 3, 6, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Shape", ["x"], ["s"], start=2),
        helper.make_node("Shape", ["c"], ["t"], end=2),
        helper.make_node("Concat", ["t", "s"], ["size"], axis=0),
        helper.make_node("Resize", ["c", "", "", "size"], ["r"], mode="linear"),
        helper.make_node("Gather", ["t", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["flat"], axis=0),
        helper.make_node("Sigmoid", ["r"], ["g"]),
        helper.make_node("Reshape", ["g", "flat"], ["y"]),
    ]
    w = np.random.default_rng(6).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return written(nodes, {"w": w, "zero": np.array([0]), "rest": np.array([-1])}, x, batch="n"), x


def test_transformations() -> None:
    data, x = shaped()
    network = agree(data, x, scale=9)
    assert list(network.params) == ["w"]
    run = jax.jit(network)
    y = run(network.params, x)
    np.testing.assert_allclose(y, network(network.params, x), atol=1e-6)
    np.testing.assert_allclose(jax.vmap(network, (None, 0))(network.params, x[:, None])[:, 0], y, atol=1e-6)
    total, back = jax.value_and_grad(lambda p: (network(p, x) ** 2).sum())(network.params)
    direction = {"w": jnp.asarray(np.random.default_rng(7).standard_normal((4, 3, 3, 3)), jnp.float32)}
    _, along = jax.jvp(lambda p: (network(p, x) ** 2).sum(), (network.params,), (direction,))
    np.testing.assert_allclose(jnp.vdot(back["w"], direction["w"]), along, rtol=1e-4)
    step = 1e-2
    ahead, behind = (
        (run({"w": network.params["w"] + s * direction["w"]}, x) ** 2).sum() for s in (step, -step)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), along, rtol=2e-3)
    assert total > 0


def test_statistics_are_not_trained() -> None:
    data, _ = random_network(np.random.default_rng(5))
    network = onnx.load(data)
    still = {name for name, moves in network.trainable().items() if not moves}
    assert still == network.statistics == {n for n in network.params if n.startswith(("mean", "var"))}


def test_wrong_calls() -> None:
    data, x = shaped()
    network = onnx.load(data)
    with pytest.raises(ValueError, match="lacks w"):
        network({}, x)
    with pytest.raises(ValueError, match="2 inputs were given; the network has 1: x"):
        network(network.params, x, x)
    for wrong in (x[0], x[:, :2], x.astype(np.int32)):
        with pytest.raises(ValueError, match="input 'x' is"):
            network(network.params, wrong)
    with pytest.raises(ValueError, match=r"Conv 'c' of float32\[2, 3, 6, 5\]"):
        network({"w": jnp.zeros((4, 2, 3, 3))}, x)


def test_a_shape_that_is_an_input_has_to_be_known() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    network = onnx.load(helper.make_model(graph).SerializeToString())
    assert [i.static for i in network.inputs] == [False, True]
    assert network({}, x, np.array([6, 2])).shape == (6, 2)
    with pytest.raises(ValueError, match="its shape is computed from the network's inputs"):
        jax.jit(network)({}, x, np.array([6, 2]))


def test_the_documented_table_is_the_one_in_force() -> None:
    assert onnx.operators() in (Path(__file__).parent.parent / "docs" / "porting_onnx.md").read_text()
