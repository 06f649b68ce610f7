"""PyTorch's interpolate: cases, its results, and the file of them for tests/test_resize_torch.py.

python -m tests.torch_resize     rewrites tests/data/torch_resize.npz; needs torch
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxconv
from tests import recorded

PATH = Path(__file__).parent / "data" / "torch_resize.npz"
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
MODES = {"cubic": "bicubic", "lanczos3": "lanczos"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of interpolate in our words, channels first."""

    method: str
    before: tuple[int, ...]
    size: tuple[int, ...] | None = None
    scale: tuple[float, ...] | None = None
    align_corners: bool = False
    antialias: bool = False

    def arrays(self, seed: int) -> dict[str, np.ndarray]:
        """x and the cotangent of y, rounded so that float32 holds them."""
        rng = np.random.default_rng(seed)
        after = self.size or tuple(int(n * s) for n, s in zip(self.before, self.scale, strict=True))
        shapes = {"x": (2, 3, *self.before), "g": (2, 3, *after)}
        return {name: rng.integers(-64, 65, shape) / 16 for name, shape in shapes.items()}


# Every mode, by size and by a scale that is not the ratio of the sizes, larger and smaller, in all its ranks.
CASES = {
    "nearest_1d": Case("nearest", (7,), (12,)),
    "nearest_2d": Case("nearest", (5, 7), scale=(2.3, 0.6)),
    "nearest_3d": Case("nearest", (4, 3, 5), (6, 2, 5)),
    "nearest_exact_2d": Case("nearest-exact", (5, 8), (9, 3)),
    "nearest_exact_scale": Case("nearest-exact", (6,), scale=(1.7,)),
    "linear_1d": Case("linear", (6,), scale=(2.4,)),
    "linear_2d": Case("linear", (5, 8), (9, 3)),
    "linear_corners": Case("linear", (5, 8), (9, 1), align_corners=True),
    "linear_3d": Case("linear", (3, 4, 5), (6, 2, 7)),
    "linear_3d_corners": Case("linear", (3, 4, 5), scale=(2.0, 0.5, 1.3), align_corners=True),
    "linear_antialias": Case("linear", (9, 4), (4, 7), antialias=True),
    "linear_antialias_scale": Case("linear", (9, 8), scale=(0.4, 1.4), antialias=True),
    "linear_antialias_corners": Case("linear", (9, 5), (4, 8), align_corners=True, antialias=True),
    "cubic": Case("cubic", (5, 8), (9, 3)),
    "cubic_scale": Case("cubic", (5, 8), scale=(1.7, 0.3)),
    "cubic_corners": Case("cubic", (5, 8), (9, 3), align_corners=True),
    "cubic_antialias": Case("cubic", (9, 5), (4, 8), antialias=True),
    "cubic_antialias_corners": Case("cubic", (9, 5), (4, 8), align_corners=True, antialias=True),
    "lanczos_antialias": Case("lanczos3", (11, 5), (4, 8), antialias=True),
    "area_1d": Case("area", (7,), (3,)),
    "area_2d": Case("area", (7, 4), (3, 6)),
    "area_3d": Case("area", (5, 4, 3), (2, 4, 2)),
}


def torch_results(case: Case, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """y and the gradient of x, in double."""
    import torch

    mode = LINEAR[len(case.before)] if case.method == "linear" else MODES.get(case.method, case.method)
    options: dict[str, Any] = {"size": case.size, "scale_factor": case.scale, "mode": mode}
    if case.method in ("linear", "cubic"):
        options["align_corners"] = case.align_corners
    if case.antialias:
        options["antialias"] = True
    x = torch.from_numpy(arrays["x"]).requires_grad_()
    y = torch.nn.functional.interpolate(x, **options)
    [dx] = torch.autograd.grad(y, x, torch.from_numpy(arrays["g"]))
    return {"y": y.detach().numpy(), "dx": dx.numpy()}


def our_results(case: Case, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same from jaxconv, in float32."""
    options = {k: v for k, v in dataclasses.asdict(case).items() if k != "before" and v}

    @jax.jit
    def both(x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, pull = jax.vjp(lambda x: jaxconv.resize(x, layout="channels_first", **options), x)
        return y, pull(g)[0]

    y, dx = both(jnp.float32(arrays["x"]), jnp.float32(arrays["g"]))
    return {"y": np.asarray(y), "dx": np.asarray(dx)}


def load(name: str) -> tuple[Case, dict[str, np.ndarray]]:
    """A recorded case, its arrays and PyTorch's results."""
    return recorded.read(PATH, name, Case)


def main() -> None:
    """Writes the file: for each case its arrays and PyTorch's results."""
    cases = {}
    for seed, (name, case) in enumerate(CASES.items()):
        arrays = case.arrays(seed)
        cases[name] = case, arrays | torch_results(case, arrays)
    recorded.write(PATH, cases)


if __name__ == "__main__":
    main()
