"""PyTorch's results, and the file of them that tests/test_torch_recorded.py compares with.

    python -m tests.record_torch     rewrites tests/data/torch_results.npz; needs torch

The recorded arrays are small integers, Gaussian integers for complex types: every sum is exact in float32, so
that the file is small and neither PyTorch's version nor its order of summation shows in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import recorded
from tests.torch_cases import NAMES, Case

PATH = Path(__file__).parent / "data" / "torch_results.npz"


def torch_results(case: Case, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """y and the gradients that `y.backward(g)` leaves, in the type of the arrays."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    operands = [tensors[name].requires_grad_() for name in ("x", "weight", "bias") if name in tensors]
    y = _call(case, *operands)
    grads = torch.autograd.grad(y, operands, tensors["g"].resolve_conj())
    results = [tensor.detach().resolve_conj().numpy() for tensor in (y, *grads)]
    return dict(zip(NAMES, results, strict=False))


def _call(case: Case, x, weight, bias=None):
    import torch

    if case.padding_mode == "zeros":
        function = getattr(torch.nn.functional, f"conv{'_transpose' if case.transposed else ''}{case.rank}d")
        extra = {"output_padding": case.output_padding} if case.transposed else {}
        options = {
            "stride": case.stride,
            "padding": case.padding,
            "dilation": case.dilation,
            "groups": case.groups,
        }
        return function(x, weight, bias, **options, **extra)
    layer = getattr(torch.nn, f"Conv{case.rank}d")(
        *case.channels,
        case.kernel,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        bias is not None,
        case.padding_mode,
        dtype=x.dtype,
    )
    parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return torch.func.functional_call(layer, parameters, (x,))


# Rank, stride, dilation, groups, uneven windows, each padding and mode, transposed with and without output
# padding.
RECORDED = {
    "conv1d": Case((9,), (4,), (3, 4), (2,), (1,), (1,)),
    "conv1d_unbatched": Case((8,), (3,), (2, 3), (1,), (2,), (2,), batch=None),
    "conv1d_same_even_kernel": Case((7,), (4,), (2, 3), (1,), "same", (1,)),
    "conv1d_replicate": Case((6,), (3,), (2, 3), (2,), (4,), (1,), padding_mode="replicate"),
    "conv1d_complex": Case((7,), (3,), (2, 4), (2,), (1,), (2,), groups=2, dtype="complex64"),
    "conv2d": Case((6, 5), (3, 2), (3, 4), (2, 1), (1, 0), (1, 2)),
    "conv2d_no_bias": Case((5, 6), (2, 3), (2, 3), (1, 2), (0, 1), (1, 1), bias=False),
    "conv2d_stride_exceeds_kernel": Case((9, 7), (2, 1), (2, 3), (4, 3), (1, 0), (1, 1)),
    "conv2d_kernel_exceeds_input": Case((2, 3), (4, 3), (3, 2), (1, 1), (2, 1), (1, 1)),
    "conv2d_valid": Case((7, 6), (3, 2), (2, 3), (2, 3), "valid", (2, 1)),
    "conv2d_same": Case((5, 6), (3, 4), (2, 3), (1, 1), "same", (2, 1)),
    "conv2d_groups": Case((5, 6), (3, 2), (6, 4), (1, 2), (1, 1), (1, 1), groups=2),
    "conv2d_depthwise_multiplier": Case((6, 5), (2, 3), (3, 6), (2, 1), (0, 1), (1, 1), groups=3),
    "conv2d_reflect": Case((5, 6), (3, 3), (2, 3), (1, 2), (2, 1), (1, 2), padding_mode="reflect"),
    "conv2d_circular": Case((4, 5), (3, 2), (2, 3), (1, 1), (3, 1), (1, 2), padding_mode="circular"),
    "conv3d": Case((4, 3, 5), (2, 3, 2), (2, 3), (1, 2, 2), (0, 1, 1), (2, 1, 1), batch=1),
    "conv_transpose1d": Case((5,), (4,), (3, 2), (3,), (1,), (1,), transposed=True, output_padding=(2,)),
    "conv_transpose1d_unbatched": Case((4,), (3,), (2, 3), (2,), (0,), (2,), 1, True, (0,), batch=None),
    "conv_transpose1d_complex": Case((4,), (3,), (2, 3), (2,), (1,), (1,), 1, True, (1,), dtype="complex64"),
    "conv_transpose2d": Case((4, 3), (3, 4), (3, 2), (2, 3), (1, 0), (1, 1), 1, True, (1, 0)),
    "conv_transpose2d_no_bias": Case(
        (3, 4), (2, 3), (2, 3), (1, 2), (0, 1), (1, 1), 1, True, (0, 1), bias=False
    ),
    "conv_transpose2d_stride_exceeds_kernel": Case(
        (3, 4), (2, 1), (2, 3), (3, 4), (0, 0), (1, 1), 1, True, (2, 1)
    ),
    "conv_transpose2d_groups": Case((3, 4), (3, 2), (4, 6), (2, 1), (1, 0), (1, 2), 2, True, (1, 1)),
    "conv_transpose2d_depthwise": Case((4, 3), (4, 3), (3, 3), (2, 2), (1, 1), (1, 1), 3, True, (0, 1)),
    "conv_transpose2d_dilated": Case((3, 4), (3, 2), (2, 3), (2, 2), (1, 2), (3, 2), 1, True, (2, 0)),
    "conv_transpose3d": Case(
        (2, 3, 2), (3, 2, 2), (2, 3), (1, 2, 3), (1, 0, 1), (1, 1, 2), 1, True, (0, 1, 2), batch=1
    ),
}


def main() -> None:
    """Write the file: for each case its arrays and PyTorch's results."""
    cases = {}
    for seed, (name, case) in enumerate(RECORDED.items()):
        rng = np.random.default_rng(seed)
        arrays = case.arrays(lambda shape, rng=rng: rng.integers(-4, 5, shape).astype(np.float64))
        double = {key: array.astype(np.result_type(array, np.float64)) for key, array in arrays.items()}
        found = arrays | torch_results(case, double)
        cases[name] = case, {key: array.astype(case.dtype) for key, array in found.items()}
    recorded.write(PATH, cases)


def load(name: str) -> tuple[Case, dict[str, np.ndarray]]:
    """A recorded case and all its arrays."""
    return recorded.read(PATH, name, Case)


if __name__ == "__main__":
    main()
