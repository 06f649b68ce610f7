"""Compile a function for a device that is not there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from . import devices, hlo
from .findings import findings
from .products import products
from .report import Memory, Report


def compile_for(
    fn: Callable[..., Any], *args: Any, device: str = "h100", kernel: tuple[int, ...] | None = None
) -> Report:
    """Compiles `fn(*args)` ahead of time and reports on the program; nothing runs.

    Args:
      fn: a function of arrays, jitted or not.
      *args: arrays, `jax.ShapeDtypeStruct`s, or trees of them; only shapes and dtypes count. What has a
        sharding over a mesh of `targets.topology(device, n)` keeps it, all else is on one device, or whole on
        every device of that mesh.
      device: "h100" or "v5e".
      kernel: the taps of the largest kernel, if the reader of the findings wants every window compared with
        it; by default a window is judged by its result.

    Returns:
      A `Report`: memory, XLA's model of traffic and time, collectives, products, findings.

    Raises:
      ValueError: for an unknown device.
      Missing: if the device's compiler is not installed; the message says what to install.

    Example:
      >>> import jax, jaxconv
      >>> from jaxconv import targets
      >>> x, kernel = jax.ShapeDtypeStruct((8, 28, 28, 64), "f4"), jax.ShapeDtypeStruct((3, 3, 32, 64), "f4")
      >>> report = targets.compile_for(
      ...     lambda x, k: jaxconv.conv_transpose(x, k, stride=2), x, kernel, device="h100"
      ... )  # doctest: +SKIP
    """
    known = devices.known(device)
    return report(_compiled(lower_for(fn, *args, device=device), known), known, kernel)


def lower_for(fn: Callable[..., Any], *args: Any, device: str = "h100") -> Any:
    """The program that `compile_for` hands to the compiler, as `jax.jit(fn).lower` returns it.

    Args:
      fn: as in `compile_for`.
      *args: as in `compile_for`.
      device: as in `compile_for`.

    Returns:
      JAX's `Lowered`; two programs with the same `as_text()` compile to the same.

    Raises:
      ValueError: for an unknown device.
      Missing: if the device's compiler is not installed.
    """
    whole = NamedSharding(_mesh(args) or Mesh(np.array(devices.topology(device)), ("one",)), PartitionSpec())

    def abstract(leaf: Any) -> Any:
        if not hasattr(leaf, "shape"):
            leaf = np.asarray(leaf)
        sharding = getattr(leaf, "sharding", None)
        keep = isinstance(leaf, jax.ShapeDtypeStruct) and isinstance(sharding, NamedSharding)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding if keep else whole)

    jitted: Any = fn if hasattr(fn, "lower") else jax.jit(fn)
    return jitted.lower(*jax.tree.map(abstract, args))


def _compiled(lowered: Any, device: devices.Device) -> Any:
    try:
        return lowered.compile(compiler_options=device.options or None)
    except jax.errors.JaxRuntimeError as failure:
        # On a device XLA tries tile sizes, and takes cuBLAS where none fits; without one it gives up.
        if "Couldn't find output tile sizes" not in str(failure):
            raise
        return lowered.compile(compiler_options=device.options | {"xla_gpu_enable_triton_gemm": False})


def report(compiled: Any, device: devices.Device, kernel: tuple[int, ...] | None = None) -> Report:
    """From a program that was compiled for the device."""
    text = compiled.as_text()
    program = hlo.parse(text)
    found = products(program)
    memory, costs = compiled.memory_analysis(), _costs(compiled)
    seconds, accessed = costs.get("optimal_seconds"), costs.get("bytes accessed")
    return Report(
        device=device.title,
        platform=device.platform,
        memory=Memory(
            memory.argument_size_in_bytes,
            memory.output_size_in_bytes,
            memory.temp_size_in_bytes,
            memory.generated_code_size_in_bytes,
        ),
        bytes_accessed=int(accessed) if accessed is not None and accessed >= 0 else None,
        seconds=seconds if seconds is not None and 0 < seconds < math.inf else None,
        cycles=hlo.cycles(program),
        multiply_adds=sum(p.multiply_adds for p in found),
        products=tuple(found),
        collectives=hlo.collectives(program),
        findings=tuple(findings(found, device.platform, kernel)),
        text=text,
    )


def _mesh(args: Any) -> Mesh | None:
    """That of the first argument that has one."""
    for leaf in jax.tree.leaves(args):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(leaf, jax.ShapeDtypeStruct) and isinstance(sharding, NamedSharding):
            return sharding.mesh  # pyright: ignore[reportReturnType]  # an abstract mesh has no devices to compile for
    return None


def _costs(compiled: Any) -> dict[str, float]:
    found = compiled.cost_analysis()
    return found if isinstance(found, dict) else {}
