"""What one optimiser step needs to know of the stage it belongs to: lambda, step sizes, solver steps, what may move."""

import math

from training.settings import ModelSettings, PathSettings
from training.stages.adversarial import SLOWER
from training.stages.progress import Progress


class Schedule:
    """Stage and step to lambda and step sizes; a function of the settings and of where the run stands.

    Args:
        null_worth: lambda of the narrowing, in nats.
    """

    def __init__(self, model: ModelSettings, path: PathSettings, null_worth: float):
        self.model, self.path, self.null_worth = model, path, null_worth
        self.progress = Progress()

    @property
    def steps(self) -> int:
        """RK4 steps of the current stage."""
        return self.model.steps if self.progress.stage in ("debias", "narrow", "done") else self.model.early_steps

    @property
    def moves_gates(self) -> bool:
        return self.progress.stage in ("screen", "ramp")

    def moves_exits(self, step: int) -> bool:
        """Whether exits move: with their gates, or below shut gates in the first half of the narrowing."""
        return self.moves_gates or (
            self.progress.stage == "narrow" and step - self.progress.began < self.path.narrow // 2
        )

    def lam(self, step: int) -> float:
        """Lambda in nats at optimiser step ``step``."""
        if self.progress.stage == "ramp":
            point = (step - self.progress.began) // self.path.steps_per_point
            return self.path.screen_lam * 10 ** (point / self.path.points_per_decade)
        if self.progress.stage == "narrow":
            return self.null_worth
        return self.path.screen_lam if self.progress.stage == "screen" else 0.0

    def rates(self, step: int) -> tuple[float, float]:
        """Adam's step sizes for flow and exits: constant, but falling to 0 as a cosine where the result is measured.

        Every stage warms up, for Adam begins it without moments and its first step would be as large as any. Every
        retry after a loss that was not finite halves both.
        """
        path, stage, taken = self.path, self.progress.stage, step - self.progress.began
        warm = min(1.0, (taken + 1) / path.warm_up) * 0.5**self.progress.retries
        if stage not in ("debias", "narrow"):
            return path.lr * warm, path.exit_lr * warm
        cosine = 0.5 * (1 + math.cos(math.pi * taken / self.length()))
        if stage == "debias":
            slower = SLOWER if self.model.objective == "adversarial" else 1.0
            return path.debias_lr * slower * warm * cosine, 0.0
        return path.lr * warm * cosine, 3 / path.narrow  # an exit can cross the whole depth while it may move

    def length(self) -> int:
        """Steps of the current stage, where its end does not depend on what it finds."""
        stage = self.progress.stage
        return self.path.settle if stage == "resettle" else getattr(self.path, stage)
