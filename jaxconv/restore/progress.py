"""A bar for the iterations, over the callback that the loop has."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from ..planner.progress import reporting
from .arrays import known
from .iterate import Callback


@contextlib.contextmanager
def shown(
    iterations: int, callback: Callback | None, *, enabled: bool, traced: Any
) -> Generator[Callback | None, None, None]:
    """The callback, which also moves a bar; while the caller is being traced there is nothing to show."""
    if not enabled or not known(traced):
        yield callback
        return
    with reporting(iterations, enabled) as report:

        def tell(k: int, x: np.ndarray) -> None:
            report(f"iteration {k + 1}", 1)
            if callback is not None:
                callback(k, x)

        yield tell
        jax.effects_barrier()
