"""Files that a crash leaves whole."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """A reader, or the next run after a crash, finds the old file or the new one and nothing between."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
