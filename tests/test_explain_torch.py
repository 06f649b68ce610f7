"""The printed calls of PyTorch, run by PyTorch."""

import numpy as np
import pytest

from jaxconv import interop
from tests.explain_cases import arrays, draw_layer
from tests.test_explain_calls import close, code, run

torch = pytest.importorskip(
    "torch", reason="runs the calls of PyTorch; test_explain_calls.py runs the others"
)


@pytest.mark.parametrize("seed", range(120))
def test_torch(seed: int) -> None:
    described = draw_layer(seed)
    x, kernel, bias = arrays(described, seed)
    operator = "conv_transpose" if described.transposed else "conv"
    weight = getattr(interop.torch, f"to_{operator}_kernel")(kernel)

    def fill(layers: list) -> None:
        with torch.no_grad():
            layers[0].weight.copy_(torch.tensor(np.ascontiguousarray(weight)))
            layers[0].bias.copy_(torch.tensor(bias))

    with torch.no_grad():
        y = run(code(described, "PyTorch"), fill, torch=torch, x=torch.tensor(np.moveaxis(x, -1, 1).copy()))
    close(np.moveaxis(y, 1, -1), described, x, kernel, bias)
