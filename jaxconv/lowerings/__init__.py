"""One algorithm per file. To add one: write its file, import it here, name it in `REGISTRY`."""

from . import direct, im2col, shifted_matmul
from ._base import Lowering as Lowering
from ._base import Target as Target
from ._core import KINDS as KINDS
from ._core import Kind as Kind
from ._core import on_core as on_core

REGISTRY: dict[str, Lowering] = {
    lowering.name: lowering for lowering in (direct.LOWERING, im2col.LOWERING, shifted_matmul.LOWERING)
}
