"""The README's table of what other libraries' layers take, read off their signatures."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import haiku as hk
import pytest
from flax import nnx

import jaxconv

from .test_dropin_models import import_keras

README = (Path(__file__).parent.parent / "README.md").read_text()
keras = import_keras()
TRANSPOSED: dict[str, Callable[..., Any]] = {
    "jaxconv": jaxconv.conv_transpose,
    "Flax": nnx.ConvTranspose,
    "Equinox": eqx.nn.ConvTranspose,
    "Haiku": hk.Conv2DTranspose,
    "Keras": keras.layers.Conv2DTranspose,
}
POOLS: dict[str, Callable[..., Any]] = {
    "jaxconv": jaxconv.max_pool,
    "Flax": nnx.max_pool,
    "Equinox": eqx.nn.MaxPool2d,
    "Haiku": hk.max_pool,
    "Keras": keras.layers.MaxPooling2D,
}
# Each row with what its parameter is called somewhere.
NAMES = {
    "transposed convolution: groups": (TRANSPOSED, {"groups", "feature_group_count"}),
    "transposed convolution: dilation": (TRANSPOSED, {"dilation", "kernel_dilation", "dilation_rate"}),
    "transposed convolution: `output_padding`": (TRANSPOSED, {"output_padding"}),
    "transposed convolution: `output_shape`": (TRANSPOSED, {"output_shape", "output_size"}),
    "max-pooling: `ceil_mode`": (POOLS, {"ceil_mode", "use_ceil"}),
    "max-pooling: indices, and unpooling": (POOLS, {"return_indices", "return_mask"}),
}


def cells() -> dict[tuple[str, str], str]:
    """What the table says of each row and library."""
    lines = re.search(r"^\| \| jaxconv \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    assert lines
    header, _, *rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in lines[0].split("\n") if line
    ]
    return {(row[0], name): cell for row in rows for name, cell in zip(header[1:], row[1:], strict=True)}


@pytest.mark.parametrize("row", NAMES)
@pytest.mark.parametrize("library", POOLS)
def test_the_table_is_right(row: str, library: str) -> None:
    functions, names = NAMES[row]
    function: Any = functions[library]
    function = function.__init__ if inspect.isclass(function) else function
    takes = bool(names & inspect.signature(function).parameters.keys())
    assert cells()[row, library] == ("yes" if takes else "no")


def test_border_modes() -> None:
    row = "convolution: border modes (reflect, circular)"
    said = {library: cells()[row, library] for library in POOLS}
    assert said == {"jaxconv": "yes", "Flax": "yes", "Equinox": "yes", "Haiku": "no", "Keras": "no"}
    assert "padding_mode" in inspect.signature(jaxconv.conv).parameters
    assert "padding_mode" in inspect.signature(eqx.nn.Conv).parameters
    assert nnx.Conv(1, 1, (3,), padding="CIRCULAR", rngs=nnx.Rngs(0)).padding == "CIRCULAR"
    with pytest.raises(ValueError, match=r"(?i)padding"):
        keras.layers.Conv2D(1, 3, padding="circular")
    assert "padding_mode" not in inspect.signature(hk.Conv2D).parameters
