"""ONNX's own recorded cases, and what becomes of each; `python -m tests.onnx_cases` runs all of them."""

import collections
import functools
import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx.backend.test.case import node as recorded

from jaxconv.interop import onnx as ours
from jaxconv.interop.onnx.table import OPS

# Modules whose cases `make test` runs: what a convolutional network is made of.
SPATIAL = [
    "averagepool",
    "batch_normalization",
    "conv",
    "convtranspose",
    "depthtospace",
    "gemm",
    "globalaveragepool",
    "globalmaxpool",
    "groupnormalization",
    "instance_normalization",
    "layernormalization",
    "lppool",
    "lrn",
    "maxpool",
    "maxunpool",
    "pad",
    "prelu",
    "resize",
    "slice",
    "softmax",
    "spacetodepth",
    "split",
    "upsample",
    "hardswish",
    "hardsigmoid",
    "clip",
    "concat",
    "reshape",
    "transpose",
    "reducemean",
]
# Cases that are refused while reading, by a part of the message, or that run and are refused then, by name.
REFUSED = {
    "its operator is not supported": "operator",
    "its type is not supported": "type of 8 bits or fewer",
    "is of type": "type of 8 bits or fewer, or strings",
    "wanted a tensor": "sequences and optionals",
    "the model is of opset": "opset below 7",
}
RANDOM = ("test_training_dropout_default", "test_training_dropout")


def collect(modules: list[str] | None = None) -> list[Any]:
    """The cases of some modules, or of all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the modules compute their own results as they load
        for module in modules or [m.name for m in pkgutil.iter_modules(recorded.__path__)]:
            importlib.import_module(f"{recorded.__name__}.{module}")
    return list({case.name: case for case in recorded._NodeTestCases}.values())


def excluded(case: Any) -> str | None:
    """Why a case does not run, or None."""
    if unknown := sorted({n.op_type for n in case.model.graph.node} - {*OPS, "Constant"}):
        return f"operator {unknown[0]}"
    if case.name.startswith(RANDOM) and "zero_ratio" not in case.name:
        return "random numbers"
    try:
        ours.load(case.model.SerializeToString())
    except ValueError as error:
        return next((why for part, why in REFUSED.items() if part in str(error)), None)
    return None


def check(case: Any) -> None:
    """Raises if the network does not return what was recorded."""
    compare(case, [as_tuple(_network(case)(*given)) for given in _inputs(case)])


def check_together(cases: list[Any]) -> None:
    """The same of many, compiled as one program: operation by operation they take three times as long.

    Its arguments are the maps. Vectors and numbers, which may be sizes, are known while it is compiled.
    """
    networks, given = list(map(_network, cases)), list(map(_inputs, cases))

    def compute(maps: list[np.ndarray]) -> list[list[tuple]]:
        left = iter(maps)
        return [
            [as_tuple(network(*(next(left) if a.ndim > 1 else a for a in arrays))) for arrays in sets]
            for network, sets in zip(networks, given, strict=True)
        ]

    results = jax.jit(compute)([a for sets in given for arrays in sets for a in arrays if a.ndim > 1])
    for case, found in zip(cases, results, strict=True):
        compare(case, found)


def compare(case: Any, found: list[tuple]) -> None:
    """Raises if results, of each set of inputs, are not the recorded ones."""
    for results, (_, wanted) in zip(found, case.data_sets, strict=True):
        assert len(results) == len(wanted), case.name
        for result, want in zip(results, map(_array, wanted), strict=True):
            assert result.shape == want.shape, (case.name, result.shape, want.shape)
            rtol, atol = case.rtol, case.atol
            if jnp.issubdtype(want.dtype, jnp.floating):  # half precision is rounded in between, float32 at 1
                eps = float(jnp.finfo(want.dtype).eps)
                rtol, atol = max(rtol, 4 * eps), max(atol, 4 * eps, 4e-7)
            got, want = (np.asarray(a).astype(np.float64) for a in (result, want))
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=case.name)


def as_tuple(results: Any) -> tuple:
    return results if isinstance(results, tuple) else (results,)


def _network(case: Any) -> Callable:
    network = ours.load(case.model.SerializeToString())
    return functools.partial(network, network.params)


def _inputs(case: Any) -> list[list[np.ndarray]]:
    return [[_array(value) for value in inputs] for inputs, _ in case.data_sets]


def _array(value: Any) -> np.ndarray:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def outcomes(cases: list[Any]) -> Iterator[tuple[str, str]]:
    """Each case's name and "passed", or why it did not run, or what went wrong."""
    for case in cases:
        why = excluded(case)
        if why is None:
            try:
                check(case)
            except (AssertionError, ValueError, TypeError) as error:
                why = f"FAILED {error}"
        yield case.name, why or "passed"


def main() -> None:
    counts: collections.Counter[str] = collections.Counter()
    for name, outcome in outcomes(collect()):
        counts[outcome.partition(" ")[0] if outcome.startswith("FAILED") else outcome] += 1
        if outcome.startswith("FAILED"):
            print(name, outcome)
    for outcome, count in counts.most_common():
        print(f"{count:5} {outcome}")


if __name__ == "__main__":
    main()
