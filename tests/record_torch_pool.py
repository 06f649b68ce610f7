"""PyTorch's poolings, and the file of them that tests/test_pool_torch_recorded.py compares with.

python -m tests.record_torch_pool     rewrites tests/data/torch_pool.npz; needs torch
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import recorded
from tests.torch_pool_cases import PoolCase, draw

PATH = Path(__file__).parent / "data" / "torch_pool.npz"
RECORDED = range(36)  # each kind twice in each rank


def torch_results(case: PoolCase, x: np.ndarray) -> dict[str, np.ndarray]:
    """What torch_pool_cases.jaxconv_results returns, from PyTorch."""
    import torch

    tensor = torch.from_numpy(x).requires_grad_()
    y, index = _call(case, tensor)
    weights = torch.arange(1, y.numel() + 1, dtype=y.dtype).reshape(y.shape)
    [dx] = torch.autograd.grad(y, tensor, weights)
    found = {"y": y.detach().numpy(), "dx": dx.numpy()}
    return found if index is None else found | {"index": index.numpy()}


def _call(case: PoolCase, x):
    import torch

    name = "max" if case.kind == "max_unpool" else case.kind
    function = getattr(torch.nn.functional, f"{name}_pool{case.rank}d")
    if case.kind.startswith("adaptive"):
        return (
            function(x, case.window, return_indices=True)
            if case.finds_indices
            else (function(x, case.window), None)
        )
    options = {"stride": case.stride, "ceil_mode": case.ceil_mode}
    if case.kind == "lp":
        # The functions of PyTorch want one number where there is one axis.
        single = {k: v[0] if case.rank == 1 and isinstance(v, tuple) else v for k, v in options.items()}
        return function(x, case.norm, case.window[0] if case.rank == 1 else case.window, **single), None
    options["padding"] = case.padding
    if case.kind == "avg":
        options["count_include_pad"] = case.count_include_pad
        if case.rank > 1:
            options["divisor_override"] = case.divisor_override
        return function(x, case.window, **options), None
    y, index = function(x, case.window, dilation=case.dilation, return_indices=True, **options)
    if case.kind == "max":
        return y, index
    back = getattr(torch.nn.functional, f"max_unpool{case.rank}d")
    return back(y, index, case.window, case.stride, case.padding, case.size), index


def main() -> None:
    """Write the file: for each case its array and PyTorch's results."""
    cases = {}
    for seed in RECORDED:
        case = draw(seed)
        x = case.x(np.random.default_rng(seed))
        found = {"x": x} | torch_results(case, x)
        if "index" in found:
            found["index"] = found["index"].astype(np.int16)
        cases[str(seed)] = case, found
    recorded.write(PATH, cases)


def load(seed: int) -> tuple[PoolCase, dict[str, np.ndarray]]:
    """A recorded case and all its arrays."""
    return recorded.read(PATH, str(seed), PoolCase)


if __name__ == "__main__":
    main()
