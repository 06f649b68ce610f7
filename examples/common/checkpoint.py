"""Checkpoints that survive a kill at any moment, and that say so when they are damaged.

Orbax writes a step beside its final name while training goes on, and renames it when complete: a killed save
leaves nothing that looks like a checkpoint.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from . import checksums
from .state import TrainState, Variables, put_together, take_apart

Model = TypeVar("Model", bound=nnx.Module)

_ITEMS = ("training", "average", "progress", "config")


class Restored(NamedTuple):
    step: int
    training: TrainState
    average: Variables
    progress: dict[str, Any]


class _Manager(ocp.CheckpointManager):
    """Never asks JAX whether to stop: the loop does, after every step.

    Orbax asks once more when a checkpoint is whole, in a thread and for that checkpoint's step. JAX takes the
    last step it was asked about for this process's progress, so an older one makes it choose a step to stop
    after that this process has passed: the others stop there, and wait for it forever.
    """

    def reached_preemption(self, step: int) -> bool:
        del step
        return False


class Checkpoints:
    """The checkpoints of one run, in numbered folders: the `keep` newest and the `keep_best` best ones.

    Each holds the training state, the averaged variables (all that inference needs), the progress (the
    position of the data stream, sums of losses) and the configuration. With several processes all of them
    have to make the same calls, on one file system.
    """

    def __init__(self, folder: Path, *, keep: int, keep_best: int):
        self.folder, self._keep_best = folder.absolute(), keep_best
        newest = policies.LatestN(keep)
        best = policies.BestN(n=keep_best, get_metric_fn=_score, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([newest, best]),
            best_fn=_score,
            # This is called when the files are written and have their final name still to get.
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
            cleanup_tmp_directories=True,
            create=True,
        )
        self._manager = _Manager(self.folder, options=options, item_names=_ITEMS)
        # By step. What is still being saved counts, in all processes alike, so the files are not asked again.
        metrics = {step: self._manager.metrics(step) for step in self.steps()}
        self._scores = {step: _score(found) for step, found in metrics.items() if found}
        self._failed = False

    def is_best(self, score: float) -> bool:
        """Whether a checkpoint with this score would be kept as one of the best."""
        others = (self._scores[step] for step in self.steps() if step in self._scores)
        return sum(other > score for other in others) < self._keep_best

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self,
        step: int,
        *,
        training: TrainState,
        average: Variables,
        progress: dict[str, Any],
        config: dict[str, Any],
        score: float | None,
    ) -> None:
        """Begins to save; returns when the arrays may change.

        Raises:
            OSError: this or the previous checkpoint cannot be written.
        """
        saved = ocp.args.Composite(
            training=ocp.args.StandardSave(training),
            average=ocp.args.StandardSave(average),
            progress=ocp.args.JsonSave(progress),
            config=ocp.args.JsonSave(config),
        )
        metrics = None if score is None else {"score": score}
        if score is not None:
            self._scores[step] = score
        try:
            self._manager.save(step, args=saved, metrics=metrics)
        except Exception as error:
            raise self._cannot_save(error) from error

    def wait(self) -> None:
        """Until what is being saved is safe.

        Raises:
            OSError: it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._cannot_save(error) from error

    def restore(self, training: TrainState, average: Variables) -> Restored | None:
        """The newest checkpoint that is whole, or None where there is none at all.

        Args:
            training: a value with the structure, shapes, types and placement of the one that was saved.
            average: likewise.

        Raises:
            ValueError: there are checkpoints and all are damaged.
        """
        steps = self.steps()
        if not steps:
            return None
        step = self._newest_whole(steps)
        if step is None:
            raise ValueError(f"every checkpoint in {self.folder} is damaged: remove the run to start again")
        for later in steps[steps.index(step) + 1 :]:
            self._manager.delete(later)  # it would be in the way when that step is saved again
        wanted = ocp.args.Composite(
            training=ocp.args.StandardRestore(training),
            average=ocp.args.StandardRestore(average),
            progress=ocp.args.JsonRestore(),
        )
        found = self._manager.restore(step, args=wanted)
        return Restored(step, found["training"], found["average"], found["progress"])

    def _newest_whole(self, steps: list[int]) -> int | None:
        """Process 0 reads the files, the others hear what it found."""
        found = -1
        for step in reversed(steps) if jax.process_index() == 0 else ():
            try:
                checksums.verify(self.folder / str(step))
            except ValueError as error:
                logging.getLogger(__name__).warning("%s", error)
            else:
                found = step
                break
        if jax.process_count() > 1:
            found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        return None if found < 0 else found

    def _write_checksums(self) -> None:
        (unfinished,) = self.folder.glob("*.orbax-checkpoint-tmp")  # one is saved at a time
        checksums.write(unfinished)

    def _cannot_save(self, error: Exception) -> OSError:
        self._failed = True
        whole = max((int(path.name) for path in self.folder.iterdir() if path.name.isdigit()), default=0)
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        return OSError(
            f"cannot save a checkpoint in {self.folder} ({reason}): make room for it; then the same command"
            f" goes on from step {whole}"
        )

    def close(self) -> None:
        """Waits for what is being saved; what could not be is said already."""
        if not self._failed:
            self._manager.close()


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def latest(path: Path) -> Path:
    """The folder of one step: `path` itself, or the newest step in the run `path`.

    Raises:
        ValueError: `path` is neither.
    """
    if path.name.isdigit() and (path / "average").is_dir():
        return path
    return _steps(path)[-1]


def best(path: Path) -> Path:
    """The folder of one step: `path` itself, or the step in the run `path` with the best held-out score.

    Raises:
        ValueError: `path` is neither, or no step in it was measured.
    """
    if path.name.isdigit() and (path / "average").is_dir():
        return path
    measured = [step for step in _steps(path) if (step / "metrics").is_dir()]
    scores = {step: _read_json(step, "metrics", "metrics")["score"] for step in measured}
    if not scores:
        raise ValueError(f"no checkpoint in {path} was measured: use the newest one, or lower eval_every")
    return max(reversed(scores), key=scores.__getitem__)


def _steps(path: Path) -> list[Path]:
    for folder in (path / "checkpoints", path):
        children = folder.iterdir() if folder.is_dir() else ()
        steps = [child for child in children if child.name.isdigit()]
        if steps:
            return sorted(steps, key=lambda step: int(step.name))
    raise ValueError(
        f"no checkpoint in {path}: give the folder of a training run, or of one step in its checkpoints/"
    )


def read_config(step: Path, *names: str) -> dict[str, Any]:
    """The configuration that was saved with a step: {"task": what it described, "training": settings}.

    Raises:
        ValueError: the step is damaged, or its task described nothing by one of these names.
    """
    checksums.verify(step)
    config = _read_json(step, "config")
    if lacking := [name for name in names if name not in config["task"]]:
        raise ValueError(
            f"{step} is of another example, it has no {' or '.join(lacking)}: give the folder of a run of"
            " this one"
        )
    return config


def _read_json(step: Path, item: str, name: str | None = None) -> dict[str, Any]:
    return ocp.Checkpointer(ocp.JsonCheckpointHandler(name)).restore(step.absolute() / item)


def load_model(step: Path, model: Model) -> Model:
    """A model with the averaged variables of a step, on one device, in evaluation mode.

    Args:
        step: the checkpoint's folder.
        model: with the structure and shapes of the trained one, as `nnx.eval_shape` gives it.
    """
    checksums.verify(step)
    graph, abstract = take_apart(model)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), abstract)
    loaded = put_together(graph, ocp.StandardCheckpointer().restore(step.absolute() / "average", target))
    assert isinstance(loaded, type(model))
    loaded.eval()
    return loaded
