"""One checkpoint file, replaced atomically between steps; SIGINT and SIGTERM end a run at the next step's end."""

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer


class StoppedError(RuntimeError):
    """A signal ended the run; the checkpoint holds its last whole step."""


class Checkpoint(Callback):
    """Writes ``file`` every ``every`` steps and when SIGINT or SIGTERM asks the run to stop.

    Written beside and renamed, so that a loadable checkpoint exists at every moment after the first.
    """

    def __init__(self, file: Path, every: int = 500):
        self.file, self.every = file, every
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)

        def ask(number: int, frame: FrameType | None) -> None:
            self._signal = number

        try:
            self._previous = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: signals are somebody else's business
            self._previous = {}

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._signal is not None:
            self.save(trainer)
            raise StoppedError(
                f"{signal.Signals(self._signal).name} at step {trainer.global_step}; go on with: "
                f"unknot fit --resume {self.file.parent.parent}"
            )
        if trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.save(trainer)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._release()

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._release()

    def _release(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint now."""
        partial = self.file.with_suffix(".partial")
        trainer.save_checkpoint(partial, weights_only=False)
        if trainer.is_global_zero:
            os.replace(partial, self.file)
