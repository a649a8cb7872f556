"""What a run says while it trains: one moving line on a terminal, one line per stage elsewhere."""

import time
from typing import Any, TextIO

from lightning import Callback, LightningModule, Trainer


class Console(Callback):
    """Prints progress and keeps the history that the training figure is drawn from.

    Args:
        offset: added to whitened nll to give nats per row in original units.
        stream: where to print.
        every: steps between history rows.
    """

    def __init__(self, offset: float, stream: TextIO, every: int = 20):
        self.offset, self.stream, self.every = offset, stream, every
        self.live = stream.isatty()
        self.history: list[dict[str, Any]] = []
        self.evaluations, self.started, self.stage = 0, time.monotonic(), ""

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        course: Any = module.course
        latest: Any = module.latest
        if not latest:  # a step that failed
            return
        self.evaluations += 4 * latest["steps"]
        progress = course.progress
        changed = latest["stage"] != progress.stage or latest["queue"] != len(progress.queue)
        if trainer.global_step % self.every and not changed:
            return
        row = {"step": trainer.global_step, **latest, "nll": latest["nll"] + self.offset}
        row["evaluations"] = self.evaluations
        self.history.append(row)
        if changed:
            self._line(row, end="\n")
        elif self.live:
            self._line(row, end="")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {"history": self.history, "evaluations": self.evaluations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self.evaluations = list(state["history"]), state["evaluations"]

    def _line(self, row: dict[str, Any], end: str) -> None:
        seconds = time.monotonic() - self.started
        line = (
            f"{seconds:6.0f} s  step {row['step']:5d}  {row['stage']:8}  lambda {row['lam']:7.3f}  k {row['k']:3d}  "
            f"mean width {row['width']:6.2f}  nll {row['nll']:9.3f} nats  kinetic {row['kinetic']:6.3f}  "
            f"field evaluations {row['evaluations']:,}"
        )
        if "kl" in row:
            line += f"  KL {row['kl']:6.3f}"
        self.stream.write(f"\r{line}{end}" if self.live else f"{line}{end}")
        self.stream.flush()
