"""The device at hand."""

from __future__ import annotations

from typing import Any

import jax


def default_device() -> Any:
    """The device that JAX would run on now."""
    chosen: Any = getattr(jax.config, "jax_default_device")  # noqa: B009
    if chosen is None or isinstance(chosen, str):  # a string names a platform
        return jax.local_devices(backend=chosen)[0]  # pyright: ignore
    return chosen


def platform_of(device: Any) -> str:
    """In the words of lowering rules, where "gpu" is either of two."""
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version else "cuda"
