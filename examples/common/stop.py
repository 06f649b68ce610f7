"""Stopping because somebody asked: SIGTERM from a scheduler, SIGINT from a keyboard."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class Stopped(Exception):
    """A run that was asked to stop has saved its last step.

    Args:
        signal_number: what asked.
        step: the step that is saved.
    """

    def __init__(self, signal_number: int, step: int):
        self.signal_number, self.step = signal_number, step
        name = signal.Signals(signal_number).name
        super().__init__(f"{name}: step {step} is saved; the same command goes on from there")


class Signals:
    """Within it a first SIGTERM or SIGINT is remembered, and a second one does what it always does.

    With several processes a SIGTERM to any of them is JAX's: it makes all stop after the same step. A first
    SIGINT becomes one.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            alone = jax.process_count() == 1
            for number in (signal.SIGTERM, signal.SIGINT) if alone else (signal.SIGINT,):
                self._previous[number] = signal.signal(number, self._remember if alone else self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _remember(self, number: int, _: FrameType | None) -> None:
        self._received = number
        self.__exit__()

    def _pass_on(self, *_: object) -> None:
        self.__exit__()
        os.kill(os.getpid(), signal.SIGTERM)

    def stop_after(self, step: int) -> int | None:
        """The signal for which the run has to end with this step; to be asked after every step."""
        if jax.process_count() > 1:
            return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else None
        return self._received
