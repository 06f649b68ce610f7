"""Checksums of a checkpoint's files, kept with them: they tell what happened to the files later."""

import json
from pathlib import Path
from zlib import crc32

from .files import write_atomically

_NAME = "checksums.json"
# Orbax changes these while it renames a complete checkpoint; nothing of a run is in them.
_NOT_OURS = ("_CHECKPOINT_METADATA", "commit_success.txt")


def write(step: Path) -> None:
    files = [path for path in sorted(step.rglob("*")) if path.is_file() and path.name not in _NOT_OURS]
    sums = {str(path.relative_to(step)): (path.stat().st_size, _checksum(path)) for path in files}
    write_atomically(step / _NAME, json.dumps(sums, indent=1))


def verify(step: Path) -> None:
    """Compares every file of a step with its checksum.

    Raises:
        ValueError: a file is missing, truncated or changed.
    """
    try:
        expected = json.loads((step / _NAME).read_text())
    except (OSError, ValueError) as error:
        raise damaged(step, f"{_NAME} is not readable") from error
    for name, (size, checksum) in expected.items():
        path = step / name
        if not path.is_file():
            raise damaged(step, f"{name} is missing")
        if path.stat().st_size != size:
            raise damaged(step, f"{name} has {path.stat().st_size} bytes of {size}")
        if _checksum(path) != checksum:
            raise damaged(step, f"{name} has changed")


def damaged(step: Path, what: str) -> ValueError:
    others = sorted(int(child.name) for child in step.parent.iterdir() if child.name.isdigit())
    earlier = [str(other) for other in others if other < int(step.name)]
    remedy = f"use an earlier step ({', '.join(earlier)})" if earlier else "train again from the start"
    return ValueError(f"checkpoint of step {step.name} in {step.parent} is damaged ({what}): {remedy}")


def _checksum(path: Path) -> int:
    result = 0
    with path.open("rb") as file:
        while part := file.read(1 << 24):
            result = crc32(part, result)
    return result
