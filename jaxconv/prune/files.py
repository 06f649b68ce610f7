"""A pruned network as files: params.npz and config.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.trace import is_array
from .cut import Cut
from .pruned import Pruned, make
from .subject import Subject

_SCHEMA, _VERSION = "jaxconv pruned network", 1


def save(pruned: Pruned, path: str | os.PathLike[str]) -> None:
    """See `Pruned.save`."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree_util.tree_leaves(pruned.params)
    arrays = {n: x for n, x in zip(pruned.subject.names, leaves, strict=True) if is_array(x)}
    config = {
        "schema": _SCHEMA,
        "version": _VERSION,
        **pruned.config,
        "dtypes": {name: str(x.dtype) for name, x in arrays.items()},
    }
    stored: dict[str, Any] = {f"params/{name}": _bytes(x) for name, x in arrays.items()}
    np.savez(folder / "params.npz", **stored)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def load(path: str | os.PathLike[str], fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Pruned:
    """Reads what `Pruned.save` wrote.

    Args:
      path: of the folder.
      fn: the function or model that was pruned, of its original size; `jax.ShapeDtypeStruct`s will do for all
        arrays, as `nnx.eval_shape` and `jax.eval_shape` make them.
      *args: its arguments.
      **kwargs: its keyword arguments.

    Returns:
      The pruned network.

    Raises:
      ValueError: if the folder holds no pruned network, or one of another model.

    Example:
      >>> import tempfile
      >>> import jax, jax.numpy as jnp
      >>> from jaxconv import prune
      >>> def f(params, x):
      ...     return jax.nn.relu(x @ params["a"]) @ params["b"]
      >>> params = {"a": jnp.ones((3, 8)), "b": jnp.ones((8, 2))}
      >>> small = prune.prune(f, params, jnp.ones((1, 3)), ratio=0.25)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     small.save(folder)
      ...     again = prune.load(folder, f, params, jnp.ones((1, 3)))
      >>> again.params["a"].shape, again(jnp.ones((1, 3))).tolist()
      ((3, 6), [[18.0, 18.0]])
    """
    folder = Path(path)
    try:
        config = json.loads((folder / "config.json").read_text())
        if config.get("schema") != _SCHEMA or config["version"] != _VERSION:
            raise ValueError(f"it says schema={config.get('schema')!r}, version={config.get('version')!r}")
        with np.load(folder / "params.npz", allow_pickle=False) as stored:
            arrays = {
                name: _array(stored[f"params/{name}"], dtype) for name, dtype in config["dtypes"].items()
            }
        original, kept, strategy = config["original"], config["kept"], config["strategy"]
        if arrays.keys() != original.keys():
            raise ValueError(f"it has not the arrays {sorted(original)} that it names")
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder} holds no pruned network of version {_VERSION}: {error}.") from error
    subject, leaves, rest = Subject.of(fn, args)
    shapes = {n: list(x.shape) for n, x in zip(subject.names, leaves, strict=True) if is_array(x)}
    if shapes != original:
        differ = sorted(n for n in shapes.keys() | original.keys() if shapes.get(n) != original.get(n))
        raise ValueError(
            f"{folder} was pruned from another model: {differ[0]} has shape {shapes.get(differ[0])} here and "
            f"{original.get(differ[0])} there; hand over the original one."
        )
    graph, values = subject.graph(rest, kwargs)
    masks = []
    for i, value in values.items():
        own = kept.get(subject.names[i], {})
        masks.append([_mask(n, own.get(str(d))) for d, n in enumerate(value.shape)])
    cut = Cut.of_masks(graph, list(values.values()), masks, strategy)
    return make(subject, leaves, cut, values, {}, arrays)


def _mask(size: int, kept: list[int] | None) -> np.ndarray:
    mask = np.full(size, kept is None)
    mask[kept or []] = True
    return mask


def _bytes(array: Any) -> np.ndarray:
    """NumPy's files know no bfloat16 and no keys: what it does not know is written as bits."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(array))
    array = np.asarray(array)
    return array if array.dtype.kind in "biufc" else array.view(f"u{array.dtype.itemsize}")


def _array(stored: np.ndarray, dtype: str) -> jax.Array:
    if dtype.startswith("key<"):
        return jax.random.wrap_key_data(jnp.asarray(stored), impl=_IMPLEMENTATIONS[dtype[4:-1]])
    return jnp.asarray(stored if str(stored.dtype) == dtype else stored.view(jnp.dtype(dtype)))


_IMPLEMENTATIONS = {"fry": "threefry2x32", "rbg": "rbg", "urbg": "unsafe_rbg"}
