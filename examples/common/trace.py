"""A profiler's trace of some steps."""

from pathlib import Path

import jax


class Trace:
    """Writes `profile/` in the run's folder, which TensorBoard and Perfetto open."""

    def __init__(self, folder: Path, steps: tuple[int, int] | None):
        self._folder, self._steps = folder / "profile", steps
        self._running = False

    def before(self, step: int) -> None:
        if self._steps and step == self._steps[0]:
            jax.profiler.start_trace(self._folder)
            self._running = True

    def after(self, step: int, result: object) -> None:
        """`result` is what the step returned, which may be still on its way."""
        if self._running and self._steps and step == self._steps[1]:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
