"""Compiled programs that are kept in a folder, for other tests and other processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


@contextmanager
def remembered(folder: str | Path) -> Iterator[None]:
    """Programs are written to a folder within it, and read from there instead of compiled again."""
    names = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    try:
        _configure(names)
        yield
    finally:
        _configure(before)


def _configure(values: dict) -> None:
    compilation_cache.reset_cache()
    for name, value in values.items():
        jax.config.update(name, value)
