"""Damaged and hostile files of ONNX: each is a clear error and takes little memory."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from jaxconv.interop.onnx import load

FLOAT = TensorProto.FLOAT


def model(*nodes: Any, initializers: Any = (), opset: int = 17, outputs: tuple[str, ...] = ("y",)) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 2, 5, 4])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def tensor(name: str, dims: list[int], raw: bytes, kind: int = FLOAT) -> Any:
    return TensorProto(name=name, dims=dims, data_type=kind, raw_data=raw)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"the {op}", **attributes)


CONV = node("Conv", "x w", "y")
RELU = node("Relu", "x", "y")
SMALL = tensor("w", [1, 2, 1, 1], np.ones(2, np.float32).tobytes())

HOSTILE: dict[str, tuple[Any, str]] = {
    "huge shape": (
        model(CONV, initializers=[tensor("w", [2**31, 2**31], b"abcd")]),
        r"'w'.*wants \d+ bytes; the file holds 4",
    ),
    "huge shape, no numbers": (
        model(CONV, initializers=[TensorProto(name="w", dims=[10**12], data_type=FLOAT)]),
        "holds 0",
    ),
    "negative shape": (model(CONV, initializers=[tensor("w", [-1, 2], b"")]), "negative shape"),
    "short data": (model(CONV, initializers=[tensor("w", [3], b"\0" * 8)]), "wants 12 bytes"),
    "strings": (
        model(CONV, initializers=[TensorProto(name="w", dims=[1], data_type=8, string_data=[b"a"])]),
        "STRING",
    ),
    "unknown type": (model(CONV, initializers=[TensorProto(name="w", dims=[1], data_type=99)]), "99"),
    "cycle": (
        model(node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")),
        "cycle through .*the",
    ),
    "its own operand": (model(node("Add", "x y", "y")), "cycle through Add"),
    "same name twice": (model(RELU, node("Neg", "x", "y")), "same name.*'y'"),
    "result named as an input": (model(node("Relu", "x", "x"), node("Relu", "x", "y")), "same name.*'x'"),
    "missing operand": (model(node("Add", "x nowhere", "y")), "the Add.*needs 'nowhere'"),
    "missing output": (model(RELU, outputs=("z",)), "'z' is made by no node"),
    "too few operands": (model(node("Conv", "x", "y")), "the Conv.*1 operands; wanted 2 to 3"),
    "wrong attribute's type": (
        model(node("Conv", "x w", "y", group=1.5), initializers=[SMALL]),
        "'group' is not of the type INT",
    ),
    "unknown attribute": (
        model(node("Conv", "x w", "y", flip=1), initializers=[SMALL]),
        "no attribute 'flip'",
    ),
    "lacks an attribute": (model(node("Concat", "x x", "y")), "lacks axis"),
    "wrong name of padding": (
        model(node("Conv", "x w", "y", auto_pad="SAME"), initializers=[SMALL]),
        "auto_pad='SAME'",
    ),
    "old opset": (model(RELU, opset=6), r"opset \[6\]; wanted one from 7 to"),
    "future opset": (model(RELU, opset=99), r"opset \[99\]"),
    "loop": (
        model(node("If", "x", "y", then_branch=model(RELU).graph, else_branch=model(RELU).graph)),
        "the If.*not supported",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str) -> None:
    proto, message = HOSTILE[name]
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        load(proto.SerializeToString())
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_all_unsupported_nodes_are_named() -> None:
    nodes = (node("NonZero", "x", "a"), node("Det", "x", "b"), node("Relu", "x", "c"))
    with pytest.raises(ValueError, match="2 of the nodes can't be read") as caught:
        load(model(*nodes, outputs=("a", "b", "c")).SerializeToString())
    assert "the NonZero" in str(caught.value)
    assert "the Det" in str(caught.value)
    assert "Relu" not in str(caught.value)
    network = load(model(*nodes, outputs=("a", "b", "c")).SerializeToString(), outputs=["c"])
    assert [n.op for n in network.nodes] == ["Relu"]
    with pytest.raises(ValueError, match=r"'org\.other' are not supported"):
        load(model(helper.make_node("Relu", ["x"], ["y"], domain="org.other")).SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08", b"\x00" * 100], ids=repr)
def test_not_a_model(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    for source in (data, tmp_path / "a.onnx"):
        with pytest.raises(ValueError, match="not a model of ONNX"):
            load(source)


def test_cut_off_anywhere() -> None:
    whole = model(
        CONV, initializers=[tensor("w", [1, 2, 3, 3], np.ones(18, np.float32).tobytes())]
    ).SerializeToString()
    load(whole)
    refused = 0
    for length in range(0, len(whole), 7):
        try:
            load(whole[:length])
        except ValueError:
            refused += 1
    assert refused >= len(range(0, len(whole), 7)) - 1  # the last bytes are the opset's


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file"):
        load(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="not a file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("op", "inputs", "numbers"),
    [
        ("ConstantOfShape", "n", [10**6, 10**6]),
        ("Expand", "x n", [10**6, 10**6, 1, 2, 5, 4]),
        ("Tile", "x n", [10**6, 10**6, 1, 1]),
        ("Pad", "x n", [0, 0, 0, 0, 0, 0, 10**6, 10**6]),
        ("ConstantOfShape", "n", [-3]),
    ],
)
def test_a_few_bytes_that_ask_for_much(op: str, inputs: str, numbers: list[int]) -> None:
    shape = helper.make_tensor("n", TensorProto.INT64, [len(numbers)], numbers)
    network = load(model(node(op, inputs, "y"), initializers=[shape]).SerializeToString())
    with pytest.raises(ValueError, match=f"the {op}"):
        network(network.params, np.zeros((1, 2, 5, 4), np.float32))


TRANSPOSED = {"w": np.ones((2, 3, 3, 3), np.float32)}


@pytest.mark.parametrize(
    ("op", "attributes", "arrays", "words"),
    [
        ("Conv", {"pads": [2**40] * 4}, {"w": np.ones((3, 2, 3, 3), np.float32)}, "has more than"),
        ("MaxPool", {"kernel_shape": [2, 2], "pads": [2**30] * 4}, {}, "has more than"),
        ("AveragePool", {"kernel_shape": [2**40, 2], "auto_pad": "SAME_UPPER"}, {}, "has more than"),
        (
            "MaxUnpool",
            {"kernel_shape": [1, 1], "strides": [2**40] * 2},
            {"i": np.zeros((1, 2, 5, 4), int)},
            "more",
        ),
        ("ConvTranspose", {"strides": [2**40] * 2}, TRANSPOSED, "has more than"),
        ("ConvTranspose", {"output_shape": [2**40, 4]}, TRANSPOSED, "has more than"),
        ("MaxPool", {"kernel_shape": [1, 2, 3]}, {}, r"wanted \(N, C\) and 3 spatial dimensions"),
        ("Conv", {}, {"w": np.ones((1, 1, 1), np.float32)}, r"wanted \(N, C\) and 1 spatial dimensions"),
        ("Range", {}, {"limit": np.float32(np.inf), "delta": np.float32(1)}, "infinity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nodes_that_do_not_fit(op: str, attributes: Any, arrays: Any, words: str) -> None:
    first = "x" if op != "Range" else "delta"
    numbers = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    network = load(
        model(
            node(op, " ".join([first, *arrays]), "y", **attributes), initializers=numbers
        ).SerializeToString()
    )
    with pytest.raises(ValueError, match=f"the {op}.*{words}"):
        network(network.params, *[np.zeros((1, 2, 5, 4), np.float32)] * len(network.inputs))


def test_a_window_of_more_channels_than_there_are() -> None:
    network = load(model(node("LRN", "x", "y", size=2**40, alpha=2.0**40, beta=1.0)).SerializeToString())
    x = np.arange(40, dtype=np.float32).reshape(1, 2, 5, 4)
    wanted = x / (1 + np.square(x).sum(1, keepdims=True))
    np.testing.assert_allclose(network(network.params, x), wanted, rtol=1e-6)


def test_powers_of_any_size() -> None:
    """A whole exponent is multiplied out, but not one of thirty digits, nor infinity."""
    for power, wanted in ((3.0, 0.125), (1e30, 0.0), (np.inf, 0.0), (-1e30, np.inf)):
        exponent = numpy_helper.from_array(np.array([power], np.float32), "p")
        network = load(model(node("Pow", "x p", "y"), initializers=[exponent]).SerializeToString())
        assert network(network.params, np.full((1, 2, 5, 4), 0.5, np.float32)).max() == wanted


def external(location: str, **entries: int) -> bytes:
    proto = TensorProto(name="w", dims=[1, 2, 1, 1], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        proto.external_data.add(key=key, value=str(value))
    return model(CONV, initializers=[proto]).SerializeToString()


def test_external_data(tmp_path: Path) -> None:
    inner = tmp_path / "model" / "weights"
    inner.mkdir(parents=True)
    numbers = np.array([9.0, 2.0, -3.0], "<f4")
    (inner / "w.bin").write_bytes(numbers.tobytes())
    path = tmp_path / "model" / "m.onnx"
    path.write_bytes(external("weights/w.bin", offset=4, length=8))
    np.testing.assert_array_equal(load(path).params["w"], numbers[1:].reshape(1, 2, 1, 1))
    with pytest.raises(ValueError, match="load the model from its path"):
        load(path.read_bytes())


def links(folder: Path) -> dict[str, Callable[[], str]]:
    def linked(name: str, target: Path) -> str:
        (folder / name).symlink_to(target)
        return name

    def pipe() -> str:
        os.mkfifo(folder / "pipe")
        return "pipe"

    secret = folder.parent / "secret.bin"
    return {
        "up": lambda: "../secret.bin",
        "up and down": lambda: "weights/../../secret.bin",
        "up and back": lambda: "../model/w.bin",
        "absolute": lambda: str(secret),
        "link": lambda: linked("link.bin", secret),
        "folder's link": lambda: linked("folder", folder.parent) + "/secret.bin",
        "pipe": pipe,
        "folder": lambda: "weights",
        "nothing": lambda: "",
        "none": lambda: "none.bin",
        "zero byte": lambda: "w.bin\0",
    }


@pytest.mark.parametrize("way", list(links(Path())))
def test_external_data_stays_inside(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "weights").mkdir(parents=True)
    for place in (tmp_path / "secret.bin", folder / "w.bin"):
        place.write_bytes(b"\0" * 8)
    path = folder / "m.onnx"
    path.write_bytes(external(links(folder)[way]()))
    with pytest.raises(ValueError, match=r"outside of the model's folder|no such file|wanted a file beside"):
        load(path)


@pytest.mark.parametrize(
    "entries", [{"offset": 4}, {"offset": -4}, {"length": 4}, {"length": 2**40}, {"offset": 2**62}]
)
def test_external_data_that_is_not_there(entries: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    (tmp_path / "m.onnx").write_bytes(external("w.bin", **entries))
    with pytest.raises(ValueError, match=r"wants 8 bytes and names"):
        load(tmp_path / "m.onnx")


def test_functions_and_sparse_arrays_are_refused() -> None:
    proto = model(RELU)
    proto.functions.add(name="f", domain="d")
    with pytest.raises(ValueError, match="inline_local_functions"):
        load(proto.SerializeToString())
    proto = model(RELU)
    proto.graph.sparse_initializer.add()
    with pytest.raises(ValueError, match="sparse"):
        load(proto.SerializeToString())
