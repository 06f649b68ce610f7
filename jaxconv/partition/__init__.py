"""The same function over pieces: tiles in space, streams in time, shards on devices.

`regions.py` says which positions each operation needs, `local.py` evaluates one on pieces.
"""

from .tile import Tiled as Tiled
from .tile import tiled as tiled
from .work import Tiling as Tiling
