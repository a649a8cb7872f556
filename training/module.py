"""The staged run as a Lightning module: one Trainer.fit, whatever the stage."""

from dataclasses import asdict, fields
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from flows.flow import FunnelFlow
from training.batches import WhiteRows
from training.checkpoint_file import CheckpointError, check_keys
from training.course import Course
from training.progress import Progress
from training.settings import ModelSettings, PathSettings


class FunnelModule(LightningModule):
    """Optimises a flow along its :class:`~training.course.Course`; use with :class:`~training.batches.WhiteRows`.

    Hyperparameters are plain data. The course's state travels in the checkpoint.
    """

    def __init__(
        self, flow: FunnelFlow, data: WhiteRows, model: ModelSettings, path: PathSettings, null_worth: float, seed: int
    ):
        super().__init__()
        self.automatic_optimization = False
        self.save_hyperparameters(
            {"flow": flow.config, "model": asdict(model), "path": asdict(path), "null_worth": null_worth, "seed": seed}
        )
        self.flow = flow
        self.course = Course(flow, data.white, data.held_out, model, path, null_worth, seed)
        self.latest: dict[str, Any] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        path = self.course.path
        exits = [self.flow.exits.tau]
        others = [p for name, p in self.flow.named_parameters() if name != "exits.tau"]
        groups = [{"params": others, "lr": path.lr}, {"params": exits, "lr": path.exit_lr}]
        return torch.optim.Adam(groups, fused=True)

    def on_train_start(self) -> None:  # not on_fit_start: there a resumed run does not know its step yet
        if self.global_step == 0:
            self.course.start()
        self.trainer.should_stop = self.course.progress.stage == "done"  # killed while it wrote its results

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        course, step = self.course, self.global_step
        optimizer: Any = self.optimizers()
        for group, lr in zip(optimizer.param_groups, course.rates(step), strict=True):
            group["lr"] = lr
        self.flow.exits.tau.requires_grad_(course.moves_exits(step))
        terms = course.terms(batch.to(self.flow.exits.tau), step)
        optimizer.zero_grad()
        self.manual_backward(terms.loss)
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), course.path.clip)
        optimizer.step()
        self.latest = {
            "stage": course.progress.stage,
            "queue": len(course.progress.queue),
            "lam": course.lam(step),
            "steps": course.steps,
            "nll": float(terms.nll),
            "kinetic": float(terms.kinetic),
            "k": self.flow.structure_dim,
            "width": sum(self.flow.width(t / 4) for t in range(5)) / 5,
        }
        if course.advance(step + 1):
            optimizer.optimizer.state.clear()
        if course.progress.stage == "done":
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["course"] = self.course.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError where the checkpoint is of another architecture or other data."""
        remedy = "resume with the settings of the run, or start a new one"
        check_keys(checkpoint["course"], [f.name for f in fields(Progress)], "the checkpoint's course", remedy)
        state, own = checkpoint["state_dict"], self.state_dict()
        check_keys(state, own, "the checkpoint's flow", remedy)
        other = [
            f"{n} {tuple(state[n].shape)}, now {tuple(own[n].shape)}" for n in own if state[n].shape != own[n].shape
        ]
        if other:
            raise CheckpointError(f"the checkpoint is of another architecture: {'; '.join(other)}; {remedy}")
        for name in ("flow.front.mean", "flow.front.scales"):
            if not torch.allclose(state[name], own[name], rtol=1e-3, atol=1e-6):
                raise CheckpointError(
                    f"the activations are not those of the checkpoint ({name.removeprefix('flow.')} differs by up to "
                    f"{float((state[name] - own[name]).abs().max()):.3g}); resume with the same file, or start a new run"
                )
        self.course.load_state_dict(checkpoint["course"])
