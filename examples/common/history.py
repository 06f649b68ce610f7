"""The metrics of a run: a file of JSON lines that is exact whatever happens, and TensorBoard events."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from .files import write_atomically


def read(path: Path) -> list[dict[str, Any]]:
    """The complete records of a file; a line torn by a crash can only be the last one, and is left out.

    Raises:
        ValueError: another line is not JSON.
    """
    records = []
    lines = path.read_text().split("\n") if path.is_file() else [""]
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is no line
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"line {number} of {path} is not JSON: remove it") from error
    return records


class History:
    """Writes records {"step": ..., name: number} to `metrics.jsonl` and to TensorBoard.

    Continuing from a checkpoint first drops what was recorded after it, so the file of a run that was killed
    any number of times equals that of one that was not, byte for byte. So it holds no clock times either.
    """

    def __init__(self, folder: Path, *, step: int):
        path = folder / "metrics.jsonl"
        kept = [record for record in read(path) if record["step"] <= step]
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()  # into the kernel: a killed process loses nothing of it
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def note(self, step: int, **values: float) -> None:
        """For TensorBoard alone: what differs from run to run, such as speed."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Onto the disk: called before a checkpoint that counts on these records."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        with suppress(OSError):  # events are a copy; a full disk is told by what has to be on it
            self._board.close()


class NoHistory:
    """Of a process that leaves the writing to another one."""

    def write(self, step: int, **values: float) -> None: ...

    def note(self, step: int, **values: float) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...
