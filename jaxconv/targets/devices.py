"""Devices that programs can be compiled for without having one."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import importlib.util
import os
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Device:
    """What a program is compiled for.

    Attributes:
      name: as in `compile_for`.
      platform: as JAX names it.
      title: for a reader.
      modules: what has to be importable.
      install: the commands that bring them.
      options: of the compiler.
    """

    name: str
    platform: str
    title: str
    modules: tuple[str, ...]
    install: str
    options: dict[str, Any]


DEVICES = {
    "h100": Device(
        "h100",
        "cuda",
        "NVIDIA H100",
        ("jax_plugins.xla_cuda13",),
        "pip install --no-deps jax-cuda13-plugin=={jax} jax-cuda13-pjrt=={jax}",
        # Without a device there is nothing to tune on.
        {"xla_gpu_autotune_level": 0},
    ),
    "v5e": Device("v5e", "tpu", "TPU v5e", ("libtpu",), 'pip install "jax[tpu]=={jax}"', {}),
}

# The smallest topology of so many chips.
_V5E = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
# They keep libtpu from looking for the machine it runs on, and from refusing a second process, which would be
# one too many for a chip but not for a compiler. What the user has set stays.
_QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


class Missing(RuntimeError):
    """A device's compiler is not installed; the message says what to install."""


def known(name: str) -> Device:
    """The device of that name.

    Raises:
      ValueError: if there is none.
    """
    if name not in DEVICES:
        raise ValueError(f"device={name!r} is not known; use one of {', '.join(DEVICES)}.")
    return DEVICES[name]


def missing(name: str) -> str | None:
    """None if programs can be compiled for the device here, else what to install.

    Example:
      >>> missing("h100") is None or "pip install" in missing("h100")
      True
    """
    device = known(name)
    absent = [m for m in device.modules if not _importable(m)]
    if not absent:
        return None
    command = device.install.format(jax=jax.__version__)
    return (
        f"compiling for {device.title} needs {', '.join(absent)}, which is not installed; {command} (into an "
        "environment of its own: with it, every `import jax` looks for the device unless JAX_PLATFORMS=cpu)."
    )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@functools.cache
def topology(name: str, count: int = 1) -> tuple[Any, ...]:
    """Descriptions of `count` devices, to make a mesh of; none of them can run anything.

    Args:
      name: of the device.
      count: how many; a TPU's come in powers of two.

    Returns:
      The first `count` devices of the smallest topology that has so many.

    Raises:
      ValueError: for an unknown device, or more than there are in one.
      Missing: if the device's compiler is not installed.
    """
    device = known(name)
    if count < 1 or (device.platform == "tpu" and count > max(_V5E)):
        raise ValueError(f"count={count} must be 1 to {max(_V5E)}.")
    if reason := missing(name):
        raise Missing(reason)
    from jax.experimental import topologies

    if device.platform == "cuda":
        config = (importlib.resources.files(__package__ or "") / f"{name}.textproto").read_text()
        found = topologies.get_topology_desc(
            platform="cuda", topology_name=name, topology=f"1x1x{count}", target_config=config
        )
    else:
        for variable, value in _QUIET.items():
            os.environ.setdefault(variable, value)
        shape = _V5E[next(n for n in _V5E if n >= count)]
        found = topologies.get_topology_desc(platform="tpu", topology_name=f"{name}:{shape}")
    return tuple(found.devices[:count])
