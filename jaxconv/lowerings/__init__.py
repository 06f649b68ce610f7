"""One algorithm per file. To add one: write its file, import it here, name it in `REGISTRY`."""

from . import (
    depthwise_mac,
    direct,
    fft,
    im2col,
    merged_groups,
    overlap_add,
    per_group,
    shifted_matmul,
    space_to_batch,
    subpixel,
    winograd,
    zero_insertion,
)
from ._base import PLATFORMS as PLATFORMS
from ._base import Lowering as Lowering
from ._base import Target as Target
from ._base import Work as Work
from ._core import KINDS as KINDS
from ._core import Kind as Kind
from ._core import core_spec as core_spec
from ._core import on_core as on_core
from .pieces import run_in_pieces as run_in_pieces
from .pieces import work_in_pieces as work_in_pieces

_ALGORITHMS = (
    direct,
    zero_insertion,
    overlap_add,
    subpixel,
    shifted_matmul,
    im2col,
    depthwise_mac,
    winograd,
    fft,
    space_to_batch,
    per_group,
    merged_groups,
)
REGISTRY: dict[str, Lowering] = {algorithm.LOWERING.name: algorithm.LOWERING for algorithm in _ALGORITHMS}
