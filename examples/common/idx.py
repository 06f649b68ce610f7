"""IDX, the format of the MNIST family of data sets: a typed array behind a short header, often in gzip.

Big-endian throughout: two zero bytes, one for the type, one for the rank, a 32-bit length of each axis, the
elements in row-major order. <http://yann.lecun.com/exdb/mnist> described it.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
# Deflate's best: 258 bytes from two bits. A header that promises more than that of its file is wrong.
_GZIP_BEST = 1032


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, plain or in gzip (seen by its first bytes), in the machine's byte order.

    Memory is bounded by the file: a header that promises more than the file can hold is refused before
    anything of that size is allocated, and a longer file is not read to its end.

    Raises:
        ValueError: the file is missing, no IDX file, cut short, damaged or longer than its header says.
    """
    if not path.is_file():
        raise ValueError(f"no IDX file at {path}: check the path")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                return _read(file, os.fstat(file.fileno()).st_size, exact=True)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(unpacked, os.fstat(file.fileno()).st_size * _GZIP_BEST, exact=False)  # pyright: ignore[reportArgumentType]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged gzip ({error}); get the file again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(file: BinaryIO, size: int, *, exact: bool) -> np.ndarray:
    """The array in a stream of `size` bytes, or of at most as many."""
    magic = _take(file, 4, "the magic number")
    dtype = TYPES.get(magic[2])
    if magic[:2] != b"\0\0" or dtype is None:
        known = ", ".join(f"0000{code:02x}" for code in TYPES)
        raise ValueError(f"no IDX file: it begins with {magic.hex()}, not with {known} and the rank")
    rank = magic[3]
    shape = struct.unpack(f">{rank}I", _take(file, 4 * rank, f"the lengths of {rank} axes"))
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    room = size - 4 - 4 * rank
    if wanted > room:
        raise ValueError(f"cut short: {shape} {dtype[1:]} takes {wanted} bytes, the file has room for {room}")
    if exact and wanted < room:
        raise ValueError(f"{room - wanted} bytes more than {shape} {dtype[1:]} takes")
    array = np.frombuffer(_take(file, wanted, f"{shape} {dtype[1:]}"), dtype).reshape(shape)
    if file.read(1):
        raise ValueError(f"goes on after {shape} {dtype[1:]}, which takes {wanted} bytes")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _take(file: BinaryIO, count: int, what: str) -> bytearray:
    """Exactly `count` bytes. They grow in pieces: what a header promises of a gzip may not be there."""
    taken = bytearray()
    while len(taken) < count:
        piece = file.read(min(_PIECE, count - len(taken)))
        if not piece:
            raise ValueError(f"cut short: {len(taken)} of {count} bytes of {what}")
        taken += piece
    return taken
