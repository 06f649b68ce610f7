"""The same function over pieces: tiles in space, streams in time, shards on devices.

`regions.py` says which positions each operation needs, and `operation.py` how it is applied to a piece. Each
of the three has an evaluator, as they know different things when a program is made: a tile all positions
(`local.py`), a stream the phase in a period (`stream_*.py`), a device what it has in common with the others,
which hold the rest (`halo.py`, `shard_*.py`).
"""

from .shard import Exchanges as Exchanges
from .shard import Sharded as Sharded
from .shard import spatially_sharded as spatially_sharded
from .stream import Stream as Stream
from .stream import streaming as streaming
from .tile import Tiled as Tiled
from .tile import tiled as tiled
from .work import Tiling as Tiling
