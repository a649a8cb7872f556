r"""What the net uses of a layer: the Fisher information of its answer, pulled back to it, and how many directions carry it.

G = E_x E_{y ~ p(.|x)} [grad log p(y|x) grad log p(y|x)^T], (D, D), nats per squared unit. With Sigma the rows' covariance, the
eigenvectors of Sigma^(1/2) G Sigma^(1/2) sort directions by the answer that they carry: under x -> Ax + b the sorted coordinates
stay as they are. *How many* are used is decided by interchange: keep the first r coordinates of a row, take the others from
another row, and see what the answer loses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flows.front import Front
from flows.nets.answers import AT_ONCE, Normal, Softmax, answer_of
from flows.nets.questions import Head, Question, RelevanceError, answers_at, at_rows, batch_of, steadiness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_LOSS, LEAST_AGREEMENT = 0.01, 0.99
MOST_ROWS = 4096  # rows that gradients are taken at, and rows that exchange coordinates
_EVERY = 16  # ranks up to here are all on the curve


@dataclass(frozen=True, eq=False, repr=False)
class Relevance:
    """What a net's answer needs of a layer. Made by :func:`measure`.

    Attributes:
        metric: G (D, D), nats per squared unit of the layer; float64.
        information: I(y; x) in nats on held-out rows: what the answer says of the input.
        carried: (S,) nats of answer that each direction carries, half the eigenvalues of Sigma^(1/2) G Sigma^(1/2), falling.
        directions: (D, S), how the layer moves along each: one standard deviation of the rows.
        curve: rows (r, nats lost, agreement of answers) of held-out rows whose other coordinates come from other rows.
        principal: the same for the first r principal directions.
        kept: r, the smallest number that loses at most ``largest_loss`` and keeps ``least_agreement`` of the answers, or all of
            them but one: of 25 rows one that is nearly tied would decide otherwise.
        principal_kept: the same for principal directions; None where none of those tried is enough.
        largest_loss, least_agreement: share of the information, and of the answers.
        answer: what kind of answer it is.
        rows: how many rows gradients were taken at, and how many exchanged coordinates.
        notes: what to know of it, in words.
    """

    metric: Tensor
    information: float
    carried: Tensor
    directions: Tensor
    curve: tuple[tuple[int, float, float], ...]
    principal: tuple[tuple[int, float, float], ...]
    kept: int
    principal_kept: int | None
    largest_loss: float
    least_agreement: float
    answer: str
    rows: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> float:
        """Nats lost with ``kept`` directions."""
        return next(lost for r, lost, _ in self.curve if r == self.kept)

    @property
    def agreement(self) -> float:
        """Agreement of the answers with ``kept`` directions."""
        return next(same for r, _, same in self.curve if r == self.kept)

    @property
    def share(self) -> float:
        """Share of the information that ``kept`` directions carry."""
        return 1 - self.lost / self.information

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the metric and the directions, which are large."""
        return {
            "kept": self.kept,
            "information": self.information,
            "lost": self.lost,
            "agreement": self.agreement,
            "principal_kept": self.principal_kept,
            "largest_loss": self.largest_loss,
            "least_agreement": self.least_agreement,
            "answer": self.answer,
            "carried": self.carried.tolist(),
            "curve": [list(point) for point in self.curve],
            "principal": [list(point) for point in self.principal],
            "rows": list(self.rows),
            "notes": list(self.notes),
        }

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`to_dict` leaves out: ``metric`` (D, D) and ``directions`` (D, S), float64."""
        return {"metric": self.metric.contiguous(), "directions": self.directions.contiguous()}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> Relevance:
        """The relevance whose :meth:`tensors` and :meth:`to_dict` these are, also by way of a file.

        Raises:
            ValueError: parts are missing.
        """
        own = {field.name for field in fields(cls)} - {"metric", "directions"}
        missing = sorted(own - set(data)) + sorted({"metric", "directions"} - set(tensors))
        if missing:
            raise ValueError(
                f"the saved relevance lacks {', '.join(missing)}; write it again with this release, or measure it again"
            )
        plain = {name: data[name] for name in own}
        for name in ("curve", "principal"):
            plain[name] = tuple((int(r), float(lost), float(same)) for r, lost, same in data[name])
        plain |= {"rows": tuple(data["rows"]), "notes": tuple(data["notes"])}
        plain["carried"] = torch.tensor(data["carried"], dtype=torch.float64)
        return cls(metric=tensors["metric"], directions=tensors["directions"], **plain)

    @property
    def _asker(self) -> str:
        return "telling pieces apart takes" if self.answer == "pieces" else "the net uses"

    def __repr__(self) -> str:
        dims = len(self.metric)
        lines = [
            f"{self._asker} {self.kept} of {dims} directions: they carry {self.share:.1%} of the answer's "
            f"{self.information:.2f} nats, and {self.agreement:.1%} of answers stay as they are when the rest is exchanged"
            f" between rows"
        ]
        needs = "more than were tried" if self.principal_kept is None else str(self.principal_kept)
        lines.append(f"principal directions would have to be {needs} for the same")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of the information lost over the number of directions kept, by relevance and by variance."""
        from matplotlib.figure import Figure

        ax = Figure(figsize=(5, 3.5), layout="constrained").add_subplot() if ax is None else ax
        for curve, name, colour in (
            (self.curve, "by relevance", "#0072B2"),
            (self.principal, "by variance (PCA)", "#E69F00"),
        ):
            ax.plot(
                [r for r, *_ in curve],
                [lost / self.information for _, lost, _ in curve],
                "o-",
                ms=3,
                label=name,
                color=colour,
            )
        ax.axhline(self.largest_loss, color="black", ls=":", lw=1, label=f"{self.largest_loss:.0%}")
        ax.axvline(self.kept, color="#0072B2", ls=":", lw=1)
        ax.set(
            xlabel="directions kept; the others come from another row",
            ylabel="share of the answer lost",
            yscale="log",
            ylim=(1e-5, None),
            title=f"{self._asker} {self.kept} of {len(self.metric)} directions",
        )
        ax.legend(fontsize=8)
        ax.annotate(
            f"n = {self.rows[1]}, {self.information:.2f} nats",
            (0.99, 0.99),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=7,
        )
        return ax


def measure(
    question: Question,
    x: Tensor,
    train: Tensor,
    held_out: Tensor,
    largest_loss: float = LARGEST_LOSS,
    least_agreement: float = LEAST_AGREEMENT,
    seed: int = 0,
    noise_floor: float = 1e-3,
    metric: Tensor | None = None,
    sources: Tensor | None = None,
    most_rows: tuple[int, int] = (MOST_ROWS, MOST_ROWS),
) -> Relevance:
    """Relevance of a layer for the answer of what comes after it.

    Args:
        question: what comes after the layer, and what its answer is.
        x: (N, D) rows of the layer.
        train, held_out: row numbers; G and Sigma are of the first, the curve of the second.
        largest_loss, least_agreement: what the kept directions may lose of the information, and must keep of the answers.
        seed: draws rows, answers and who exchanges with whom.
        noise_floor: as :meth:`flows.Front.from_rows`.
        metric: G where it is known already; then ``head`` is only asked for answers.
        sources: (N,) of the rows; rows exchange with rows of other sources.
        most_rows: how many rows gradients are taken at, and how many exchange coordinates.

    The head's answers to the exchanging rows stay in memory: rows x answers numbers in the precision that they have.

    Raises:
        RelevanceError: a head whose answer is not one finite, differentiable row for each row, or does not depend on the layer.
    """
    head, generator = question.head, torch.Generator().manual_seed(seed)
    some, shown = (_drawn(rows, most, generator) for rows, most in zip((train, held_out), most_rows, strict=True))
    outputs = answers_at(head, x, shown)
    kind = answer_of(question.answer, outputs, question.noise)
    notes = steadiness(head, x, shown, outputs, kind)
    information = kind.information(outputs)
    if not information > 1e-9:
        raise RelevanceError(
            "the net's answer does not depend on this layer: its information I(y; x) is 0 nats; "
            "check that the head is trained and takes rows of this layer"
        )
    metric = fisher(head, x, some, kind, generator) if metric is None else metric
    plain = Front.from_rows(x[train].double(), noise_floor, kind="principal")
    front = plain.by_relevance(metric, plain.stored)

    partner = partners(shown, sources, generator)

    def curve(front: Front) -> tuple[tuple[tuple[int, float, float], ...], int | None]:
        limits = largest_loss * information, _least(least_agreement, len(shown))
        return _curve(head, front, x, shown, partner, outputs, kind, limits)

    (found, kept), (principal, principal_kept) = curve(front), curve(plain)
    if kept is None:
        kept = found[-1][0]
        notes.append(f"{kept} directions still lose more than {largest_loss:.0%}: all that vary are kept")
    root = front.displacement(torch.eye(front.stored, dtype=torch.float64)).T
    return Relevance(
        metric=metric,
        information=information,
        carried=0.5 * (root * (metric @ root)).sum(0),
        directions=root,
        curve=found,
        principal=principal,
        kept=kept,
        principal_kept=principal_kept,
        largest_loss=largest_loss,
        least_agreement=least_agreement,
        answer=question.answer if isinstance(question.answer, str) else "log-probabilities",
        rows=(len(some), len(shown)),
        notes=tuple(notes),
    )


def fisher(head: Head, x: Tensor, rows: Tensor, kind: Softmax | Normal, generator: torch.Generator) -> Tensor:
    """G (D, D) float64 at the rows numbered ``rows``: one backward pass for each answer of few, one for a drawn one of many."""
    total, count = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64), 0
    for numbers in rows.split(batch_of(head)):
        inputs = x[numbers].clone().requires_grad_()
        with torch.enable_grad():
            output = at_rows(head, numbers)(inputs)
            if not output.requires_grad:
                raise RelevanceError(
                    "the head's answer has no gradient with respect to its rows; it must be made of differentiable torch "
                    "operations (no detach, argmax, rounding or no_grad inside)"
                )
            losses = list(kind.losses(output, generator))
            for i, (loss, weight) in enumerate(losses):
                (slope,) = torch.autograd.grad(loss.sum(), inputs, retain_graph=i + 1 < len(losses), allow_unused=True)
                if slope is None:
                    continue
                slope = slope.detach().cpu()
                total += ((slope * weight.detach().cpu()[:, None]).T @ slope).double()
        count += len(numbers)
    if not bool(total.isfinite().all()):
        raise RelevanceError("the gradient of the head's answer is not finite at some rows; check the head there")
    return total / count


def _least(agreement: float, rows: int) -> float:
    """The share of answers that must stay: of few rows one may change, unless all must stay."""
    return agreement if agreement == 1 else min(agreement, (rows - 1) / rows)


def _curve(
    head: Head,
    front: Front,
    x: Tensor,
    rows: Tensor,
    partner: Tensor,
    outputs: Tensor,
    kind: Softmax | Normal,
    limits: tuple[float, float],
) -> tuple[tuple[tuple[int, float, float], ...], int | None]:
    """Points (r, nats lost, agreement), and the smallest r within the limits, None if there is none."""
    y = front.coordinates(x[rows].double())
    own = y - y[partner]
    donors = x[rows] - front.displacement(own).to(x.dtype)  # what lies beyond the coordinates stays the row's own
    points: dict[int, tuple[float, float]] = {}

    def enough(r: int) -> bool:
        if r not in points:
            other = donors + front.displacement(own[:, :r]).to(
                x.dtype
            )  # the first r of few cost less than the others of many
            points[r] = _difference(head, other, rows, outputs, kind)
        return points[r][0] <= limits[0] and points[r][1] >= limits[1]

    last = 0
    for r in _grid(front.stored):
        last, failed = r, last
        if enough(r):
            break
    while enough(last) and last - failed > 1:  # between two points of the grid
        middle = (last + failed) // 2
        last, failed = (middle, failed) if enough(middle) else (last, middle)
    for r in _grid(front.stored):  # a little beyond, to see the curve go on
        if r <= min(2 * last, _EVERY):
            enough(r)
    kept = last if enough(last) else None
    return tuple((r, *points[r]) for r in sorted(points)), kept


def _grid(stored: int) -> Sequence[int]:
    grid = list(range(min(stored, _EVERY) + 1))
    while grid[-1] < stored:
        grid.append(min(stored, grid[-1] * 5 // 4))
    return grid


def partners(rows: Tensor, sources: Tensor | None, generator: torch.Generator) -> Tensor:
    """For every place of ``rows`` another, of another source as far as a few draws find one."""
    count = len(rows)
    partner = (torch.arange(count) + torch.randint(1, count, (count,), generator=generator)) % count
    if sources is not None:
        own = sources[rows]
        for _ in range(8):
            same = (own[partner] == own).nonzero().squeeze(1)
            partner[same] = torch.randint(count, (len(same),), generator=generator)
    return partner


def _drawn(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:most]]


def _difference(head: Head, x: Tensor, rows: Tensor, outputs: Tensor, kind: Softmax | Normal) -> tuple[float, float]:
    """Mean nats that the answers at ``x``, in the places of ``rows``, are from ``outputs``, and mean agreement."""
    lost, same = 0.0, 0.0
    for places in torch.arange(len(rows)).split(
        min(batch_of(head), AT_ONCE)
    ):  # many answers: compared a batch at a time
        answers = answers_at(head, x[places], rows[places], own=False)
        lost += float(kind.divergence(outputs[places], answers).sum())
        same += float(kind.agreement(outputs[places], answers).sum())
    return lost / len(rows), same / len(rows)
