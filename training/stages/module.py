"""The staged run as a Lightning module: one Trainer.fit, whatever the stage."""

import logging
from dataclasses import asdict, fields
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from flows.flow import FunnelFlow
from training.data.batches import WhiteRows
from training.runtime.checkpoint_file import CheckpointError, check_keys
from training.settings import ModelSettings, PathSettings
from training.stages.adversarial import FLOW_BETAS
from training.stages.course import Course, DivergedError
from training.stages.critic import Critic
from training.stages.objective import Terms
from training.stages.progress import Progress

_ADDED_LATER = {"later": 0.0}  # what a course of 0.4.0 and before does not have
_log = logging.getLogger(__name__)


class FunnelModule(LightningModule):
    """Optimises a flow along its :class:`~training.stages.course.Course`; use with :class:`~training.data.batches.WhiteRows`.

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
        adversarial = model.objective == "adversarial"
        self.critic = Critic(flow.front.dims, seed=seed) if adversarial else None
        self.course = Course(flow, data.white, data.held_out, model, path, null_worth, seed, self.critic)
        self.latest: dict[str, Any] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        path = self.course.path
        exits = [self.flow.exits.tau]
        others = [p for name, p in self.flow.named_parameters() if name != "exits.tau"]
        groups = [{"params": others, "lr": path.lr}, {"params": exits, "lr": path.exit_lr}]
        return torch.optim.Adam(groups, betas=FLOW_BETAS if self.critic else (0.9, 0.999), fused=True)

    def on_fit_start(self) -> None:
        if self.critic and self.trainer.world_size > 1:
            raise ValueError(
                f"the adversarial objective trains in one process, got {self.trainer.world_size}; use one device"
            )

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
        try:
            terms = self._gradients(batch.to(self.flow.exits.tau), step)
            optimizer.step()
            self.latest = self._said(terms, step)
            ends = course.advance(step + 1)
        except DivergedError:
            optimizer.zero_grad()
            if self.global_step == step:
                optimizer.step()  # moves nothing, but a step that failed counts: batches and checkpoints go by the number
            course.go_back(step + 1)
            _log.warning(course.progress.notes[-1])
            self.latest, ends = {}, True
        if ends:
            optimizer.optimizer.state.clear()
        if course.progress.stage == "done":
            self.trainer.should_stop = True

    def _gradients(self, batch: Tensor, step: int) -> Terms:
        """Leave the clipped gradients of one batch in the parameters; what a decision hangs on is agreed between processes."""
        course, strategy = self.course, self.trainer.strategy
        terms = course.terms(batch, step, self.trainer.global_rank, self.trainer.world_size)
        self.optimizers().zero_grad()  # type: ignore[union-attr]
        self.manual_backward(terms.loss)
        norm = torch.nn.utils.clip_grad_norm_(self.flow.parameters(), course.path.clip)
        loss = terms.loss.detach()
        if not strategy.reduce_boolean_decision(bool(torch.isfinite(loss) & torch.isfinite(norm))):
            raise DivergedError(f"loss {float(loss)} and gradient norm {float(norm)} must be finite")
        if terms.gains is not None:
            course.watch(strategy.reduce(terms.gains, reduce_op="mean"))
        return terms

    def _said(self, terms: Terms, step: int) -> dict[str, Any]:
        course = self.course
        kl = {} if terms.kl is None else {"kl": float(terms.kl)}
        return {
            "stage": course.progress.stage,
            "queue": len(course.progress.queue),
            "lam": course.lam(step),
            "steps": course.steps,
            "nll": float(terms.nll),
            "kinetic": float(terms.kinetic),
            "k": self.flow.structure_dim,
            "width": float(self.flow.exits.masks(torch.linspace(0, 1, 5).to(self.flow.exits.tau)).detach().sum()) / 5,
            **kl,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["course"] = self.course.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises CheckpointError where the checkpoint is of another flow or other data."""
        remedy = "resume with the settings of the run, or start a new one"
        then, now = checkpoint["hyper_parameters"], dict(self.hparams)
        changed = [
            f"model.{n}: {then['model'][n]} -> {v}" for n, v in now["model"].items() if then["model"].get(n, v) != v
        ]
        changed += [f"seed: {then['seed']} -> {now['seed']}"] * (then["seed"] != now["seed"])
        if changed:
            raise CheckpointError(f"the checkpoint is of another flow: {', '.join(changed)}; {remedy}")
        checkpoint["course"] = {**_ADDED_LATER, **checkpoint["course"]}
        check_keys(checkpoint["course"], [f.name for f in fields(Progress)], "the checkpoint's course", remedy)
        state, own = checkpoint["state_dict"], self.state_dict()
        check_keys(state, own, "the checkpoint's flow", remedy)
        other = [
            f"{n} {tuple(state[n].shape)}, now {tuple(own[n].shape)}" for n in own if state[n].shape != own[n].shape
        ]
        if other:
            raise CheckpointError(f"the checkpoint is of other shapes: {'; '.join(other[:3])}; {remedy}")
        off = max(float((state[f"flow.front.{n}"] - own[f"flow.front.{n}"]).abs().max()) for n in ("mean", "scales"))
        if not off <= 1e-3 * float(own["flow.front.scales"][0]):  # the sums' order differs with the number of threads
            raise CheckpointError(
                f"the activations are not those of the checkpoint: a mean or standard deviation differs by {off:.3g}; "
                "resume with the same file, or start a new run"
            )
        self.course.load_state_dict(checkpoint["course"])
