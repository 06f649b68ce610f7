"""What a measurement was taken on, and its two roofs: how fast it multiplies and how fast it streams."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch")
_MATMUL_SIZES = (512, 1024, 2048)
_COPY_BYTES = 2**28
# What has to be the same for two sessions to share a file.
IDENTITY = ("processor", "cores", "platform", "versions", "allocator")


def describe(dtype: str) -> dict[str, Any]:
    """The header of a results file: date, machine, versions, load, and the roofs for `dtype`."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "platform": jax.default_backend(),
        "load": os.getloadavg(),
        "versions": {"python": platform.python_version(), **_versions()},
        "allocator": {k: v for k, v in os.environ.items() if k.startswith(("MALLOC_", "GLIBC_TUNABLES"))},
        "revision": _revision(),
        "roofs": {dtype: roofs(dtype)},
    }


def roofs(dtype: str) -> dict[str, float]:
    """Multiply-adds a second of the best of some matmuls, and bytes a second through a large array.

    Arrays that fit into a cache can be faster than the second, Winograd and FFT than the first.
    """
    matmul = jax.jit(jnp.dot).lower
    rates = []
    for n in _MATMUL_SIZES:
        a = jnp.ones((n, n), dtype)
        compiled = matmul(a, a).compile()
        rates.append(n**3 / _best(lambda c=compiled, a=a: c(a, a)))
    array = jnp.ones((_COPY_BYTES // jnp.dtype(dtype).itemsize,), dtype)
    # In place, since pages that are new to the process would be what is timed.
    add = jax.jit(lambda a: a + 1, donate_argnums=0).lower(array).compile()

    def step() -> jax.Array:
        nonlocal array
        array = add(array)
        return array

    seconds = _best(step)
    return {"multiply_adds_per_s": max(rates), "bytes_per_s": 2 * _COPY_BYTES / seconds}


def _best(call: Callable[[], jax.Array], calls: int = 8) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in (*_PACKAGES, "jaxconv"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _revision() -> str | None:
    """The commit of this checkout, marked where files differ from it; None outside of one."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
