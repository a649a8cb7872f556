"""``training.fit``: from an array to a routed flow and its verdict."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor

from flows.flow import FunnelFlow
from flows.nets.questions import Head, Question
from flows.nets.relevance import Relevance
from training.data.activations import Activations
from training.data.oddities import claimed
from training.data.preparing import Prepared, prepare
from training.runtime.checkpoint_file import CheckpointFile
from training.settings import ModelSettings, PathSettings, split_settings
from training.stages.course import Course
from training.stages.ladder import Ladder
from training.stages.module import FunnelModule
from training.stages.nulls import Null, check, find_null
from training.stages.selection import Vertex, resampled
from training.stages.stepping import enough_steps
from training.stages.supports import held_out_J


@dataclass
class FitResult:
    """A trained flow and what the path says of it. k = 0 is a legal answer: nothing but noise at this regularity.

    Attributes:
        flow: the debiased and narrowed flow at k.
        path: structured array, one row per grid point: step, stage, lam (nats), k, nll (held-out nats per row in
            original units), gates (M,).
        prices: (M,) nats that each dimension explained when it left, nan where it was never opened or never left.
        worth, worth_se: (k,) nats per structure dimension in the flow's order, with paired standard errors;
            dimensions that leave together share one. :attr:`ladder` has all rungs, beyond k too.
        hull: vertices of the lower convex hull of k -> J_k.
        J: for every debiased k, mean held-out NLL + kappa * kinetic energy (whitened units).
        null: the null threshold and where it comes from.
        structure_dim: k.
        confidence: in [0, 1]; see training.stages.selection.choose. At most .5 where ``oddities`` make the verdict doubtful.
        resampled: for every k that resamples of the held-out rows choose, their share; see training.stages.selection.resampled.
        nll: held-out nats per row of the final flow, in original units.
        kl: of the adversarial objective, held-out lower bound in nats of the final flow's KL divergence from a product, as its
            critic saw it; None of the likelihood's.
        kinetic: held-out kinetic energy per row of the final flow.
        held_out, train: row indices; of more than 100 000 held-out rows those that were measured.
        steps: optimiser steps taken.
        discretisation_error: nats by which the final flow's log-density changes when its solver steps are doubled, as root
            mean square over held-out rows; see training.stages.stepping.
        notes: what happened on the way, in words.
        snapshots: the debiased flow of every k that the path proposed.
        activations: the rows as they were fitted, nuisance off, with labels and sources.
        relevance: what the net uses of the layer, where a head or a relevance was given; with front="pieces" what tells the
            rows' own pieces apart (``relevance.answer`` is "pieces"); else None.
        oddities: what the verdict has to say of the rows: rows set aside, twins, what was not examined;
            see training.data.oddities.
        settings: every setting of model and path, by name.
        claim: what alone is claimed where the rows make structure by themselves (all of one norm); empty where k stands as it is.
    """

    flow: FunnelFlow
    path: np.ndarray
    prices: np.ndarray
    worth: np.ndarray
    worth_se: np.ndarray
    hull: list[Vertex]
    J: dict[int, float]
    null: Null
    structure_dim: int
    confidence: float
    resampled: dict[int, float]
    nll: float
    kl: float | None
    kinetic: float
    held_out: np.ndarray
    train: np.ndarray
    steps: int
    discretisation_error: float
    notes: list[str]
    snapshots: dict[int, FunnelFlow] = field(repr=False)
    activations: Activations = field(repr=False)
    relevance: Relevance | None = field(default=None, repr=False)
    oddities: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    claim: str = ""

    @property
    def null_worth(self) -> float:
        """Nats below which a dimension's worth is not told from noise."""
        return self.null.threshold

    @property
    def stability(self) -> float:
        """Share of resamples of the held-out rows that choose the same k."""
        return self.resampled.get(self.structure_dim, 0.0)

    @property
    def ladder(self) -> Ladder:
        """How many dimensions at how many nats each, why this k, and what PCA says at the same k."""
        return Ladder.of(self.hull, self.structure_dim, self.null_worth, self.flow.front)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for result.json; what is not finite as None."""
        record = {
            "structure_dim": self.structure_dim,
            "confidence": self.confidence,
            "stability": self.stability,
            "resampled": {str(k): share for k, share in self.resampled.items()},
            "prices": self.prices.tolist(),
            "ladder": self.ladder.to_dict(),
            "worth": self.worth.tolist(),
            "worth_se": self.worth_se.tolist(),
            "hull": [asdict(vertex) for vertex in self.hull],
            "J": {str(k): v for k, v in self.J.items()},
            "null": asdict(self.null),
            "nll": self.nll,
            "kl": self.kl,
            "kinetic": self.kinetic,
            "steps": self.steps,
            "discretisation_error": self.discretisation_error,
            "notes": self.notes,
            "oddities": self.oddities,
            "claim": self.claim,
            "settings": self.settings,
            "front": {"kind": self.flow.front.kind, "kept": self.flow.front.kept, "of": self.flow.features},
            "relevance": None if self.relevance is None else self.relevance.to_dict(),
        }
        return _finite(record)

    def verdict(self) -> str:
        """The answer in plain lines, with what is odd about the rows."""
        first = [f"claimed: {self.claim}."] if self.claim else []
        return "\n".join([*first, self._answer(), *(f"caution: {oddity}." for oddity in self.oddities)])

    def _answer(self) -> str:
        dims, uses = self.flow.front.dims, self._uses()
        sure = (
            f"(confidence {self.confidence:.2f}; the same k in {self.stability:.0%} of resamples of the held-out rows)"
        )
        found = f"{self.structure_dim} of {dims} dimensions"
        if self.structure_dim == 0:
            few = self.ladder.is_short_of_rows
            found = "none that so few rows can show" if few else "none. Nothing but noise at this regularity"
        return (
            f"{uses}{self.ladder}\nstructure: {found} {sure}.\n"
            f"noise: {dims - self.structure_dim} dimensions routed to N(0, I)."
        )

    def _uses(self) -> str:
        """What the net uses, in a line of its own; nothing where that was not measured."""
        found, front = self.relevance, self.flow.front
        if found is None:
            return ""
        if found.answer == "pieces":
            return (
                f"pieces: {front.kept} of {len(found.metric)} directions tell the rows' own pieces apart; the others exchanged "
                f"between rows, {found.agreement:.1%} of rows keep their piece.\n"
            )
        needs = "PCA would need more" if found.principal_kept is None else f"PCA needs {found.principal_kept}"
        asked = "" if front.kept == found.kept else f" (asked for {front.kept})"
        return (
            f"uses: {found.kept} of {len(found.metric)} directions{asked} carry {found.share:.1%} of the answer's "
            f"{found.information:.2f} nats; the others exchanged between rows, {found.agreement:.1%} of answers stay ({needs}).\n"
        )

    def save(self, folder: str | Path) -> Path:
        """Write a run folder, as ``unknot fit`` does, for ``Analyzer.load`` and ``unknot analyze``; returns its path.

        What came from memory cannot be read again, so there is no config.yaml; result.json has all settings.

        Raises:
            FileExistsError: the folder exists and is not empty.
        """
        from training.runtime.run_folder import RunFolder

        run = RunFolder.create(str(folder), "")
        with run.discarded_on_error():
            run.write(self, [], self.flow.seed, [self.verdict(), *(f"note: {note}" for note in self.notes)])
        return run.path

    def __str__(self) -> str:
        return self.verdict()

    def __repr__(self) -> str:
        return f"FitResult(structure_dim={self.structure_dim}, confidence={self.confidence:.2f}, nll={self.nll:.3f})"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def fit(
    x: object,
    kappa: float = 1.0,
    seed: int = 0,
    *,
    groups: object = None,
    order: str | None = None,
    head: Head | None = None,
    answer: str | Callable[[Tensor], Tensor] = "softmax",
    noise: object = None,
    nuisance: object = None,
    null_worth: str | float = "auto",
    **settings: Any,
) -> FitResult:
    """Train a funnel flow on activations and read off how many dimensions carry structure.

    Args:
        x: activations (N, D): tensor, array, memmap or nested list of numbers; or an :class:`~training.Activations`.
        kappa: regularity, nats per squared whitened unit of kinetic energy.
        seed: draws split, start, batches and gates; same machine and seed, same result.
        groups: (N,) source of every row (image, sentence, trial), so that no source is on both sides of the split.
        order: "time" where the rows follow one another in a recording: blocks of time, ten autocorrelation times long, become
            the sources; see training.data.series.
        head: what comes after the layer, from rows (n, D) to the net's answer (n, ...), differentiable (or a
            :class:`flows.Tail`): the flow is then fitted to the directions that the answer uses.
        answer, noise: what the answer is; see :func:`training.relevance`.
        nuisance: (N,) or (N, j) class numbers, or (N, q) real covariates, whose linear share is taken off first.
        null_worth: "auto" (shipped or cached, else what the path resolves), "run" (five fits to noise), or a threshold in nats.
        **settings: any field of :class:`~training.ModelSettings` or :class:`~training.PathSettings`.

    Returns:
        The flow with its path, prices, worth and verdict.

    Raises:
        TypeError, ValueError: unusable activations or settings; the message says what to do.

    Example:
        >>> import training
        >>> result = training.fit(training.planted("circle").x)  # doctest: +SKIP
        >>> result.structure_dim  # doctest: +SKIP
        2
    """
    model, path = split_settings({"kappa": kappa, **settings})
    check(null_worth)
    if not isinstance(x, Activations):
        x = Activations(x.cpu() if isinstance(x, Tensor) else x, sources=groups)  # type: ignore[arg-type]
    elif groups is not None:
        raise ValueError("groups= goes with plain rows; these Activations have sources of their own: set those instead")
    if order is not None:
        x = replace(x, order=order)
    if head is not None:
        x = replace(x, question=Question(head, answer, noise))
    if nuisance is not None:
        x = replace(x, nuisance=nuisance)  # type: ignore[arg-type]
    return run(prepare(x, model, path, seed), model, path, seed, null_worth)


@torch.inference_mode(False)
def run(
    prepared: Prepared,
    model: ModelSettings,
    path: PathSettings,
    seed: int,
    null_worth: str | float = "auto",
    callbacks: Sequence[Callback] = (),
    resume: str | Path | None = None,
    **trainer_settings: Any,
) -> FitResult:
    """Train ``prepared`` along its staged path with one Lightning ``Trainer.fit`` and collect the result."""
    threshold = find_null(len(prepared.train), prepared.flow.front.dims, model, path, null_worth)
    path = path.for_rows(len(prepared.train))
    module = FunnelModule(prepared.flow, prepared.data, model, path, threshold.threshold, seed)
    trainer = quiet_trainer(callbacks, **trainer_settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(module, prepared.data, ckpt_path=resume, weights_only=True)
    module.course.flow.requires_grad_(False).to("cpu")
    return collect(module.course, prepared, threshold, trainer.global_step)


def quiet_trainer(callbacks: Sequence[Callback] = (), **settings: Any) -> Trainer:
    """A Trainer that runs until the course is done and says nothing of its own."""
    for name in ("pytorch.utilities.rank_zero", "pytorch.accelerators.cuda", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.ERROR)
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "plugins": [CheckpointFile()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(max_epochs=1, callbacks=list(callbacks), **{**defaults, **settings})


def _revived(like: FunnelFlow, state: dict[str, Tensor]) -> FunnelFlow:
    flow = like.twin().eval().requires_grad_(False)
    flow.load_state_dict({**state, "order": like.order})
    return flow


def _settle_steps(course: Course) -> tuple[float, list[str]]:
    """Give the finished flow more solver steps where it needs them; what is left of the error, and what to say of it."""
    flow, before = course.flow, course.flow.steps
    flow.steps, error = enough_steps(course)
    if flow.steps == before and error <= course.path.screen_lam:
        return error, []
    course.progress.final = course.evaluate(flow.steps)
    note = (
        f"the finished flow takes {flow.steps} solver steps instead of {before}: doubling them changes {error:.3f} nats"
    )
    if error > course.path.screen_lam:
        note += (
            f", more than the {course.path.screen_lam} that the path resolves: its field is stiff; raise model.kappa"
        )
    return error, [note]


def collect(course: Course, prepared: Prepared, null: Null, steps: int) -> FitResult:
    """Read the result off a finished course."""
    progress, flow = course.progress, course.flow
    choice = course.choice()
    worth, errors = np.zeros(choice.structure_dim), np.zeros(choice.structure_dim)
    for lower, upper in zip(choice.hull, choice.hull[1:], strict=False):
        if upper.k <= choice.structure_dim:
            worth[lower.k : upper.k], errors[lower.k : upper.k] = upper.worth, upper.worth_se
    dims = flow.front.dims
    kinds = [("step", "i8"), ("stage", "U8"), ("lam", "f8"), ("k", "i8"), ("nll", "f8"), ("gates", "f8", (dims,))]
    rows = [(r["step"], r["stage"], r["lam"], r["k"], r["nll"] + prepared.offset, r["gates"]) for r in progress.path]
    kl = float(progress.final[:, 2].mean()) if course.critic is not None else None
    error, note = _settle_steps(course)
    if course.critic is not None:
        note = [
            "adversarial: J and worth are read from a critic's lower bound of the KL divergence from structure x noise; "
            "log_prob is that of a mixture fitted to the structure afterwards",
            *note,
        ]
    final = progress.final.mean(0)
    return FitResult(
        flow=flow.eval(),
        path=np.array(rows, dtype=kinds),
        prices=progress.prices.numpy(),
        worth=worth,
        worth_se=errors,
        hull=choice.hull,
        J={k: float(v["rows"][:, 0].mean()) for k, v in sorted(progress.debiased.items())},
        null=null,
        structure_dim=choice.structure_dim,
        confidence=min([choice.confidence, *(oddity.limit(choice.structure_dim) for oddity in prepared.oddities)]),
        resampled=resampled(held_out_J(progress), course.null_worth, seed=course.seed),
        nll=float(final[1]) + prepared.offset,
        kl=kl,
        kinetic=float(final[0] - final[-1]) / course.model.kappa if course.model.kappa else float("nan"),
        held_out=prepared.held_out.numpy(),
        train=prepared.train.numpy(),
        steps=steps,
        discretisation_error=error,
        notes=[*prepared.notes, *progress.notes, *note],
        snapshots={k: _revived(flow, v["flow"]) for k, v in sorted(progress.debiased.items())},
        activations=prepared.activations,
        relevance=prepared.relevance,
        oddities=[oddity.sentence for oddity in prepared.oddities],
        settings={**asdict(course.model), **asdict(course.path)},
        claim=claimed(prepared.oddities, choice.structure_dim),
    )
