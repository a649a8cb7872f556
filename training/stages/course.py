"""The staged run as a state machine: which stage, which lambda, what happens between stages.

settle -> screen -> (refit -> settle -> reopening test)* -> ramp -> debias each proposed support -> narrow -> done.
All of its state is plain data and tensors (:meth:`Course.state_dict`), so a resumed run is the uninterrupted one.
"""

import copy
import math

import torch
from torch import Tensor

from flows.flow import FunnelFlow
from flows.io.rows import Rows
from training.settings import ModelSettings, PathSettings
from training.stages.adversarial import OTHERS, adversarial, fit_density
from training.stages.critic import Critic
from training.stages.measuring import evaluated, latent
from training.stages.objective import Charges, Terms, objective
from training.stages.progress import Progress
from training.stages.schedule import Schedule
from training.stages.selection import Choice, choose
from training.stages.starting import ica_rotation, latent_sample, refit_mixture, reopening_gains
from training.stages.supports import held_out_J, left_out, mean_J, off_hull, proposals

_GAIN_MEMORY = 0.9
_OF_THE_TRY = ("good", "retries", "began")


class DivergedError(FloatingPointError):
    """Something that must be finite is not; :meth:`Course.go_back` is what there is to do."""


class Course(Schedule):
    """Takes a flow through its stages.

    Args:
        flow: trained in place.
        white, held_out: whitened training rows (N, M) and held-out rows (n, M).
        null_worth: lambda below which a worth is noise, in nats (training.stages.nulls).
        critic: of the adversarial objective, trained in place too; J is then the bound that it gives + kappa * kinetic energy.
    """

    def __init__(
        self,
        flow: FunnelFlow,
        white: Tensor | Rows,
        held_out: Tensor,
        model: ModelSettings,
        path: PathSettings,
        null_worth: float,
        seed: int,
        critic: Critic | None = None,
    ):
        super().__init__(model, path, null_worth)
        self.flow, self.white, self.held_out, self.seed = flow, white, held_out, seed
        self.critic = critic

    def start(self) -> None:
        """FastICA's rotation, then the axes are opened that are not Gaussian, by themselves or given the others opened so far.

        Called once, not on resume.

        With every gate open the mixture would spend its components on noise, and the flow, finding no density that
        fits the structure, would send the structure to noise before the screen.
        """
        dims = self.flow.front.dims
        self.flow.front.set_rotation(ica_rotation(self.white, self.seed))
        self.progress.gains, self.progress.prices = torch.zeros(dims), torch.full((dims,), torch.nan)
        is_open = torch.zeros(dims, dtype=torch.bool)
        for _ in range(1 + self.path.rounds):  # first each axis by itself, then given those that are open
            wider = self._reopened(is_open, self.path.screen_lam)
            if bool((wider == is_open).all()):
                break
            is_open = wider
        if not bool(is_open.any()):
            is_open = ~is_open
        self._set_open(is_open)
        self._refit(is_open)
        self._keep()

    def state_dict(self) -> dict:
        """All of the course's state: numbers, strings, lists, dictionaries and tensors."""
        return dict(vars(self.progress))

    def load_state_dict(self, state: dict) -> None:
        self.progress = Progress(**state)

    def terms(self, batch: Tensor, step: int, rank: int = 0, world: int = 1) -> Terms:
        """The loss of ``batch`` (whitened rows) at ``step``; gate draws are a function of (seed, step).

        Args:
            rank, world: of the process, see :func:`~training.stages.objective.objective`.
        """
        generator = torch.Generator().manual_seed((self.seed << 32) + step)
        charges = Charges(
            self.model.kappa,
            self.model.rho,
            self.lam(step) if self.moves_gates else None,
            self.lam(step) if self.moves_exits(step) else 0.0,
        )
        try:
            if self.critic is None:
                return objective(self.flow, batch, charges, generator, self.steps, rank, world)
            others = self.white[torch.randint(len(self.white), (OTHERS * len(batch),), generator=generator)].to(batch)
            proposes = self.progress.stage not in ("debias", "narrow")
            return adversarial(self.flow, self.critic, batch, others, charges, generator, self.steps, proposes)
        except torch.linalg.LinAlgError as error:
            raise DivergedError("parameters so large that the rotation cannot be formed") from error

    def watch(self, gains: Tensor) -> None:
        """Take the D (M,) of one batch into their running mean."""
        self.progress.gains = (self.progress.gains * _GAIN_MEMORY).add(gains.cpu(), alpha=1 - _GAIN_MEMORY)

    # what happens between steps

    def advance(self, step: int) -> bool:
        """Called after optimiser step number ``step`` (1 for the first). True where the optimiser must forget its moments."""
        progress = self.progress
        taken = step - progress.began
        if self.moves_gates:
            self._watch_exits()
        elif progress.stage == "narrow":
            self.flow.exits.narrow_(progress.debiased[progress.chosen]["is_open"])
            if taken == self.path.narrow // 2:
                self.flow.exits.snap_(self.steps)
        if progress.stage == "ramp":
            at_point = taken % self.path.steps_per_point == 0
            empty = self.flow.structure_dim == 0
            if at_point or empty:
                self._record(step)
            if not empty and not (at_point and self.lam(step) > self.path.largest_lam):
                return False
        elif taken < self.length():
            return False
        elif progress.stage == "screen":
            self._record(step)
        getattr(self, f"_after_{progress.stage}")()
        progress.began = step
        self._keep()
        return True

    def go_back(self, step: int) -> None:
        """After a loss that is not finite: to where the stage (or round) began, at half the step size from there on.

        Args:
            step: optimiser steps taken, the one that failed among them; the stage begins again there.

        Raises:
            FloatingPointError: more than ``path.retries`` times.
        """
        stage, path, tries = self.progress.stage, self.path, self.progress.retries + 1
        if tries > path.retries:
            raise FloatingPointError(
                f"loss is not finite at step {step} ({stage}), given up after {path.retries} retries, each at half the step "
                f"size; lower path.lr (now {path.lr}) or raise model.early_steps (now {self.model.early_steps})"
            )
        self.flow.load_state_dict(self.progress.good["flow"])
        if self.critic is not None:
            self.critic.load_state_dict(self.progress.good["critic"])
        self.progress = Progress(**self.progress.good["progress"], retries=tries, began=step)
        self._note(
            f"loss not finite at step {step} ({stage}): back to where it began, at 1/{2**tries} of the step size"
        )
        self._keep()

    def _keep(self) -> None:
        """Remember where a stage begins, for :meth:`go_back`."""
        kept = {name: copy.copy(value) for name, value in vars(self.progress).items() if name not in _OF_THE_TRY}
        self.progress.good = {"flow": copy.deepcopy(self.flow.state_dict()), "progress": kept}
        if self.critic is not None:
            self.progress.good["critic"] = copy.deepcopy(self.critic.state_dict())

    def _after_settle(self) -> None:
        self._record(self.progress.began + self.path.settle)
        self.progress.stage = "screen"

    def _after_screen(self) -> None:
        is_open = self._open_now()
        self._note(f"screen at lambda {self.path.screen_lam}: {int(is_open.sum())} of {len(is_open)} dimensions stay")
        self._refit_or_ramp(self._reopened(is_open, self.path.screen_lam))

    def _after_resettle(self) -> None:
        is_open = self._open_now()
        reopened = self._reopened(is_open, self.path.screen_lam) if self.progress.rounds < self.path.rounds else is_open
        if bool((reopened == is_open).all()):
            self._enter_ramp()
        else:
            self._refit_or_ramp(reopened)

    def _refit_or_ramp(self, is_open: Tensor) -> None:
        if not bool(is_open.any()):
            return self._enter_ramp()
        self._set_open(is_open)
        self._refit(is_open)
        self.progress.rounds += 1
        self.progress.stage = "resettle"

    def _enter_ramp(self) -> None:
        """Only supports met from here on are proposals; where none is left the last one of the screen is."""
        kept = self.flow.structure_dim
        if kept:
            self.progress.snapshots = {}
            self._snapshot()
            self.progress.stage = "ramp"
        else:
            smallest = min((k for k in self.progress.snapshots if k > 0), default=0)
            self.progress.snapshots = {k: v for k, v in self.progress.snapshots.items() if k in (0, smallest)}
            self._enter_debias()

    def _after_ramp(self) -> None:
        left = self.flow.structure_dim
        if left:
            self._note(f"{left} dimensions are left at lambda {self.path.largest_lam}: raise path.largest_lam")
        self._enter_debias()

    def _enter_debias(self) -> None:
        if 0 not in self.progress.snapshots:
            self.flow.exits.set_open(torch.zeros_like(self.flow.gates, dtype=torch.bool))
            self._snapshot()
        self.progress.queue = proposals(self.progress, self.path)
        self.progress.stage = "debias"
        self._begin_debias()

    def _load(self, snapshot: dict) -> None:
        self.flow.load_state_dict(snapshot["flow"])
        self.flow.exits.set_open(snapshot["is_open"])

    def _begin_debias(self) -> None:
        """Start from the ramp's snapshot; at k = 0 from a flow at rest, which reaches a lower J_0 than what the ramp left.

        The flow at rest is the Gaussian fit itself, so it stands as k = 0 unless training does better on held-out rows:
        on pure noise training only overfits, and a J_0 too high would make every k seem worth something.
        """
        k = self.progress.queue[0]
        self._load(self.progress.snapshots[k])
        if k == 0:
            torch.nn.init.zeros_(self.flow.field.W3)
            self.progress.debiased[0] = self._measured()

    def _after_debias(self) -> None:
        """Another round from here, until one gains less than the path resolves over the round before; the best stands."""
        progress = self.progress
        k, now = progress.queue[0], self._measured()
        best, J = progress.debiased.get(k), mean_J(now)
        if best is None or mean_J(best) > J:
            progress.debiased[k] = now
        gained = progress.round_J[-1] - J if progress.round_J else math.inf
        progress.round_J.append(J)
        going = gained > self.path.screen_lam or k == 0  # what moves all structure to noise starts with a plateau
        if (
            going
            and len(progress.round_J) < self.path.debias_rounds
            and not off_hull(progress, k, self.path.screen_lam)
        ):
            return
        if k:
            progress.later = max(progress.later, progress.round_J[0] - min(progress.round_J))
        progress.queue.pop(0)
        progress.round_J = []
        if progress.queue:
            self._begin_debias()
        else:
            self._after_choice()

    def _after_choice(self) -> None:
        """Debias what was left out next to k, then what the reopening test adds, if that is a k not seen yet; else narrow."""
        progress = self.progress
        progress.chosen = self.choice().structure_dim
        if (neighbour := left_out(progress, self.path.most_supports)) is not None:
            progress.queue = [neighbour]
            return self._begin_debias()
        self._load(progress.debiased[progress.chosen])
        gains = self._reopening_gains(self._open_now())
        again = gains > self.null_worth
        k = progress.chosen + int(again.sum())
        if k not in progress.debiased:
            self._note_opened(gains, again)
            is_open = self._open_now() | again
            self.flow.exits.set_open(is_open)
            self._refit(is_open)
            progress.snapshots[k] = self._state()
            progress.queue = [k]
            return
        self._order()
        progress.final = progress.debiased[progress.chosen]["rows"]
        progress.stage = "narrow" if self.path.narrow else "done"

    def _after_narrow(self) -> None:
        """Keep the narrowed flow unless it lost more than two standard errors over the debiased one."""
        progress = self.progress
        progress.final = self._judged()
        lost = progress.final[:, 0] - progress.debiased[progress.chosen]["rows"][:, 0]
        error = float(lost.std() / math.sqrt(len(lost)))
        if float(lost.mean()) > 2 * error:
            self._note(f"narrowing undone: it lost {lost.mean():.4f} +- {error:.4f} nats")
            self._load(progress.debiased[progress.chosen])
            self._order()
            progress.final = progress.debiased[progress.chosen]["rows"]
        progress.stage = "done"

    def choice(self) -> Choice:
        """The verdict over the supports debiased so far."""
        return choose(held_out_J(self.progress), self.null_worth)

    # pieces

    def _open_now(self) -> Tensor:
        """Which gates are above 0: (M,) bool on the CPU."""
        return (self.flow.gates > 0).cpu()

    def _set_open(self, is_open: Tensor) -> None:
        self.flow.exits.set_open(is_open)
        self.progress.is_open = is_open.clone()
        self.progress.prices = self.progress.prices.masked_fill(is_open, torch.nan)
        self.progress.departures = [i for i in self.progress.departures if not is_open[i]]

    def _refit(self, is_open: Tensor) -> None:
        z = _finite(latent_sample(self.flow, self.white, self.seed, self.steps))
        refit_mixture(self.flow, z, is_open, self.seed)

    def _reopening_gains(self, is_open: Tensor) -> Tensor:
        z = _finite(latent_sample(self.flow, self.white, self.seed + 1, self.steps))
        return reopening_gains(self.flow, z, is_open, self.seed)

    def _reopened(self, is_open: Tensor, threshold: float) -> Tensor:
        """``is_open`` with the shut dimensions added whose structure would be worth more than ``threshold`` nats."""
        gains = self._reopening_gains(is_open)
        again = gains > threshold
        self._note_opened(gains, again)
        return is_open | again

    def _note_opened(self, gains: Tensor, again: Tensor) -> None:
        if bool(again.any()):
            self._note(f"opened {again.nonzero().squeeze(1).tolist()} at {gains[again].max():.3f} nats")

    def _watch_exits(self) -> None:
        """A dimension that has left stays out until a reopening test; its price is what it explained when it left."""
        progress = self.progress
        self.flow.exits.clamp_(progress.is_open)
        left = progress.is_open & ~self._open_now()
        if bool(left.any()):
            progress.prices = torch.where(left, progress.gains, progress.prices)
            progress.departures += left.nonzero().squeeze(1).tolist()
            progress.is_open = progress.is_open & ~left
            self._snapshot()

    def _snapshot(self) -> None:
        k = self.flow.structure_dim
        if k not in self.progress.snapshots:
            self.progress.snapshots[k] = self._state()

    def _measured(self) -> dict:
        return {"rows": self._judged(), **self._state()}

    def _state(self) -> dict:
        return {"is_open": self._open_now(), "flow": copy.deepcopy(self.flow.state_dict())}

    def evaluate(self, steps: int | None = None, most_rows: int | None = None) -> Tensor:
        """Held-out rows' NLL + kappa * kinetic energy and NLL (n, 2), in nats, whitened units."""
        return _finite(evaluated(self.flow, self.held_out[:most_rows], self.model.kappa, steps or self.steps))

    def _judged(self) -> Tensor:
        """What J is read from: :meth:`evaluate`'s rows; with a critic KL + kappa * kinetic energy, NLL and KL (n, 3)."""
        if self.critic is None:
            return self.evaluate()
        is_open = self._open_now()
        z = _finite(latent_sample(self.flow, self.white, self.seed, self.steps))
        fit_density(self.flow.base, z, is_open, self.seed)
        rows, held_out = self.evaluate(), latent(self.flow, self.held_out, self.steps)
        kl = _finite(self.critic.bounds(z, held_out, is_open, self.seed).cpu())
        return torch.stack([rows[:, 0] - rows[:, 1] + kl, rows[:, 1], kl], dim=1)

    def _record(self, step: int) -> None:
        nll = float(self.evaluate(most_rows=1024)[:, 1].mean())
        gates = self.flow.gates.detach().tolist()
        row = {"step": step, "stage": self.progress.stage, "lam": self.lam(step - 1), "k": self.flow.structure_dim}
        self.progress.path.append({**row, "nll": nll, "gates": gates})

    @torch.no_grad()
    def _order(self) -> None:
        """Highest price first: those that never left, then the last to leave first; one opened only after the ramp comes last."""
        departures = self.progress.departures
        never = [i for i in range(self.flow.front.dims) if i not in departures]
        stayed = [i for i in never if bool(self.progress.is_open[i])]
        late = [i for i in never if not bool(self.progress.is_open[i])]
        self.flow.order.copy_(torch.tensor([*stayed, *reversed(departures), *late]))

    def _note(self, text: str) -> None:
        self.progress.notes.append(text)


def _finite(rows: Tensor) -> Tensor:
    if not bool(torch.isfinite(rows).all()):
        raise DivergedError("the flow's values on held-out or latent rows are not finite")
    return rows
