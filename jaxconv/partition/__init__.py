"""The same function over pieces."""

from .shard import Exchanges as Exchanges
from .shard import Sharded as Sharded
from .shard import spatially_sharded as spatially_sharded
