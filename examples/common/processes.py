"""Several processes as one run: JAX's own runtime connects them."""

import os
import sys

import jax

from .config import TrainConfig

# What a process may be told by its environment, where the command line does not.
_COORDINATOR, _COUNT, _INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def join(config: TrainConfig) -> None:
    """Connects this process with the others, if there are to be any; before anything is computed."""
    coordinator = config.coordinator or os.environ.get(_COORDINATOR)
    if not (config.distributed or coordinator) or jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            coordinator,
            _number(config.processes, _COUNT),
            _number(config.process, _INDEX),
        )
    except ValueError as error:
        raise ValueError(
            f"cannot find the other processes ({error}): give --coordinator HOST:PORT, --processes COUNT and"
            " --process INDEX"
        ) from error


def _number(option: int | None, variable: str) -> int | None:
    if option is not None:
        return option
    value = os.environ.get(variable)
    return None if value is None else int(value)


def is_first() -> bool:
    """Whether this process writes what one process has to write, and speaks for all."""
    return jax.process_index() == 0


def leave(code: int) -> int:
    """Ends this process, for which there is nothing to wait, with an exit code.

    JAX would meet the others first, some of which may be gone.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
