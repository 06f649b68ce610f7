"""The same function over pieces: tiles in space, streams in time, shards on devices.

`regions.py` says which positions each operation needs, `local.py` evaluates one on pieces. On devices, where
one program runs on all of them, `halo.py` exchanges what neighbours hold, and the rules of `shard_*.py` say
how results are divided. In time, `stream_*.py` keep what later chunks need.
"""

from .shard import Exchanges as Exchanges
from .shard import Sharded as Sharded
from .shard import spatially_sharded as spatially_sharded
from .stream import Stream as Stream
from .stream import streaming as streaming
from .tile import Tiled as Tiled
from .tile import tiled as tiled
from .work import Tiling as Tiling
