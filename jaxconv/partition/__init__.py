"""The same function over pieces: of time."""

from .stream import Stream as Stream
from .stream import streaming as streaming
