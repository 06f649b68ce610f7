"""Checkpoints that survive a kill at any moment, and that say so when they are damaged.

Orbax writes a step beside its final name and renames it when complete, so a killed save leaves nothing that
looks like a checkpoint. What happens to the files later is caught by the checksums kept with them.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import jax
import orbax.checkpoint as ocp

_CHECKSUMS = "checksums.json"
_ITEMS = ("training", "average", "data", "config")


class Restored(NamedTuple):
    step: int
    training: Any
    average: Any
    data: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in numbered folders.

    Each holds the training state, the averaged parameters (all that inference needs), the position of the
    data stream and the configuration.
    """

    def __init__(self, folder: Path, *, keep: int | None = None):
        self.folder = folder.absolute()
        # Saving is synchronous: the state is small, and when the next step begins this one is safe.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True, create=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=_ITEMS)

    def save(
        self, step: int, *, training: Any, average: Any, data: dict[str, Any], config: dict[str, Any]
    ) -> None:
        saved = ocp.args.Composite(
            training=ocp.args.StandardSave(training),
            average=ocp.args.StandardSave(average),
            data=ocp.args.JsonSave(data),
            config=ocp.args.JsonSave(config),
        )
        self._manager.save(step, args=saved)
        self._manager.wait_until_finished()
        _write_checksums(self.folder / str(step))

    def restore(self, training: Any, average: Any) -> Restored | None:
        """The newest checkpoint that is whole, or None where there is none at all.

        Args:
            training: a value with the structure, shapes, types and placement of the one that was saved.
            average: likewise.

        Raises:
            ValueError: there are checkpoints and all are damaged.
        """
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, training, average)
            except ValueError as error:
                logging.getLogger(__name__).warning("%s", error)
                damaged.append(step)
                continue
            for later in damaged:
                self._manager.delete(later)  # it would be in the way when that step is saved again
            return restored
        if damaged:
            raise ValueError(f"every checkpoint in {self.folder} is damaged: remove the run to start again")
        return None

    def _restore(self, step: int, training: Any, average: Any) -> Restored:
        verify(self.folder / str(step))
        wanted = ocp.args.Composite(
            training=ocp.args.StandardRestore(training),
            average=ocp.args.StandardRestore(average),
            data=ocp.args.JsonRestore(),
        )
        try:
            found = self._manager.restore(step, args=wanted)
        except Exception as error:
            raise _damaged(self.folder / str(step), _first_line(error)) from error
        return Restored(step, found["training"], found["average"], found["data"])

    def close(self) -> None:
        self._manager.close()


def latest(path: Path) -> Path:
    """The folder of one step: `path` itself, or the newest step in the run `path`.

    Raises:
        ValueError: `path` is neither.
    """
    for folder in (path / "checkpoints", path):
        steps = (
            [int(child.name) for child in folder.iterdir() if child.name.isdigit()] if folder.is_dir() else []
        )
        if steps:
            return folder / str(max(steps))
    if path.name.isdigit() and (path / "average").is_dir():
        return path
    raise ValueError(
        f"no checkpoint in {path}: give the folder of a training run, or of one step in its checkpoints/"
    )


def read_config(step: Path) -> dict[str, Any]:
    """The configuration that was saved with a step."""
    verify(step)
    try:
        return ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(step / "config")
    except Exception as error:
        raise _damaged(step, _first_line(error)) from error


def read_average(step: Path, average: Any) -> Any:
    """The averaged parameters of a step, with the structure of the abstract `average`, on one device."""
    verify(step)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), average)
    try:
        return ocp.StandardCheckpointer().restore(step.absolute() / "average", target)
    except Exception as error:
        raise _damaged(step, _first_line(error)) from error


def verify(step: Path) -> None:
    """Compares every file of a step with its checksum.

    A save that was killed between the rename and the checksums leaves none, and is complete.

    Raises:
        ValueError: a file is missing, truncated or changed.
    """
    if not (step / _CHECKSUMS).is_file():
        return
    try:
        expected = json.loads((step / _CHECKSUMS).read_text())
    except ValueError as error:
        raise _damaged(step, f"{_CHECKSUMS} is not readable") from error
    for name, (size, checksum) in expected.items():
        if not (step / name).is_file():
            raise _damaged(step, f"{name} is missing")
        content = (step / name).read_bytes()
        if len(content) != size:
            raise _damaged(step, f"{name} has {len(content)} bytes of {size}")
        if crc32(content) != checksum:
            raise _damaged(step, f"{name} has changed")


def _write_checksums(step: Path) -> None:
    files = [path for path in sorted(step.rglob("*")) if path.is_file()]
    sums = {str(path.relative_to(step)): (path.stat().st_size, crc32(path.read_bytes())) for path in files}
    write_atomically(step / _CHECKSUMS, json.dumps(sums, indent=1))


def write_atomically(path: Path, text: str) -> None:
    """A reader, or the next run after a crash, finds the old file or the new one and nothing between."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _damaged(step: Path, what: str) -> ValueError:
    others = sorted(int(child.name) for child in step.parent.iterdir() if child.name.isdigit())
    earlier = [str(other) for other in others if other < int(step.name)]
    remedy = f"use an earlier step ({', '.join(earlier)})" if earlier else "train again from the start"
    return ValueError(f"checkpoint of step {step.name} in {step.parent} is damaged ({what}): {remedy}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
