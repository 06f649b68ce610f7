"""ONNX's recorded cases of what convolutional networks are made of; onnx_cases.py runs all of them."""

import collections

import numpy as np
import pytest

from .onnx_cases import SPATIAL, check_together, collect, excluded


def test_recorded_cases() -> None:
    cases = [case for case in collect(SPATIAL) if not case.name.endswith("_expanded")]
    left_out = {case.name: why for case in cases if (why := excluded(case))}
    assert left_out == {}
    check_together(cases)
    seen = collections.Counter(node.op_type for case in cases for node in case.model.graph.node)
    assert seen["MaxPool"] >= 19
    assert seen["Resize"] >= 39
    assert seen["ConvTranspose"] >= 11
    # Of the same cases one whose record is changed has to fail.
    [case] = [case for case in cases if case.name == "test_convtranspose_output_shape"]
    case.data_sets[0][1][0][..., -1, -1] += 0.01 * np.abs(case.data_sets[0][1][0]).max()
    with pytest.raises(AssertionError, match="test_convtranspose_output_shape"):
        check_together([case])
