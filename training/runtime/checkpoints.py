"""One checkpoint file, replaced atomically between steps; SIGINT and SIGTERM end a run at the next step's end."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from training.runtime.stopping import SIGNALS, StoppedError


class Checkpoint(Callback):
    """Writes ``file`` before the first step, every ``every`` steps, after the last, and when SIGINT or SIGTERM asks to stop.

    It is replaced atomically (training.runtime.checkpoint_file), so a loadable one exists at every moment after the first.
    """

    def __init__(self, file: Path, every: int = 500):
        self.file, self.every = file, every
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        for left_by_a_kill in self.file.parent.glob(f"{self.file.name}.*.part"):
            left_by_a_kill.unlink(missing_ok=True)

        def ask(number: int, frame: FrameType | None) -> None:
            self._signal = number

        try:
            self._previous = {number: signal.signal(number, ask) for number in SIGNALS}
        except ValueError:  # not the main thread: signals are somebody else's business
            self._previous = {}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.strategy.broadcast(self.file.exists()):  # all save or none: saving waits for the others
            self.save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False):
            self.save(trainer)
            number = self._signal or signal.SIGTERM  # another process was asked
            raise StoppedError(f"{signal.Signals(number).name} at step {trainer.global_step}", number)
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
        """Write the checkpoint now.

        Raises:
            OSError: it cannot be written; the previous one is as it was.
        """
        try:
            trainer.save_checkpoint(self.file, weights_only=False)
        except OSError as error:
            kept = "the one before it is whole; " if self.file.exists() else ""
            raise OSError(
                f"cannot write {self.file} at step {trainer.global_step} ({error.strerror or error}); {kept}make room first"
            ) from error
