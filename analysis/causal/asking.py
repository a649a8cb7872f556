"""A net asked at rows and at edited rows: what the answer loses, whether it stays, whose it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.nets.answers import Softmax, answer_of
from flows.nets.questions import Question, RelevanceError, answers_at
from flows.nets.tail import Tail

if TYPE_CHECKING:
    from torch import Tensor

_ONE_SD = 0.5  # nats: two answers in numbers differ where they lie one sd of the noise apart
_OFF = 0.05  # of the rows' sd: how far the layer's own rows may be from those that are edited
_SHOWN = 256


@dataclass(frozen=True)
class Effect:
    """What became of the answers at edited rows.

    Attributes:
        lost: nats, KL of the answer at the row from the answer at the edited row, mean over rows.
        agreement: share of rows whose likeliest answer stays; the mean cosine where the answer is numbers.
        loss, accuracy: of the task, nats and share, where class numbers are known; else None.
    """

    lost: float
    agreement: float
    loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Swap:
    """Whose the answer is where a row has a part of another, its donor.

    Attributes:
        follow, stay: of pairs whose own answers differ, the share whose new answer is the donor's, and the row's own; in numbers
            the share that comes nearer than half of the way.
        missing: nats, KL of the donor's answer from the new one, mean over all pairs.
    """

    follow: float
    stay: float
    missing: float


class Asked:
    """A net's answers at rows, and those at edited rows against them.

    Args:
        question: what comes after the layer, and what its answer is.
        x: rows (n, D).
        numbers: (n,) their numbers in the data that the head was made for; only a head with ``at`` asks for them.
        partner: (n,) the donor of each.
        labels: (n,) class numbers, or None.
        effect: (n, D) what rows lack of those that the net knows, their nuisance, or 0.

    Raises:
        RelevanceError: a head whose answer is not one finite row for each row, or does not depend on the layer.
        ValueError: a head of other rows.
    """

    def __init__(
        self,
        question: Question,
        x: Tensor,
        numbers: Tensor,
        partner: Tensor,
        labels: Tensor | None = None,
        effect: Tensor | float = 0.0,
    ):
        self.head, self.numbers, self.partner, self.added = question.head, numbers, partner, effect
        check_rows(question.head, x + effect, numbers)
        self.own = self._answers(x)
        self.kind = answer_of(question.answer, self.own, question.noise)
        self.information = self.kind.information(self.own)
        if not self.information > 1e-9:
            raise RelevanceError(
                "the net's answer does not depend on this layer: its information I(y; x) is 0 nats; "
                "check that the head is trained and takes rows of this layer"
            )
        self.labels = labels if self._are_answers(labels) else None
        self.donors = self.own[partner]
        self.differ = self._differ()
        self.as_it_is = self._effect(self.own)
        again = self._effect(self._answers(x)).lost
        self.notes = (
            [f"the head is not deterministic: the same rows get answers {again:.3g} nats apart the second time"]
            if again > 1e-6
            else []
        )

    @property
    def is_choice(self) -> bool:
        """Whether the answer is one of several, or numbers."""
        return isinstance(self.kind, Softmax)

    def effect(self, edited: Tensor) -> Effect:
        """What the answers at edited rows (n, D) lose against those at the rows."""
        return self._effect(self._answers(edited))

    def swap(self, edited: Tensor) -> Swap:
        """Whose the answers at rows (n, D) with a part of the donor are."""
        new = self._answers(edited)
        follow, stay = (self._is(whose, new)[self.differ].double().mean() for whose in (self.donors, self.own))
        return Swap(float(follow), float(stay), float(self.kind.divergence(self.donors, new).mean()))

    def _answers(self, rows: Tensor) -> Tensor:
        return answers_at(self.head, rows + self.added, self.numbers, own=False)

    def _effect(self, new: Tensor) -> Effect:
        lost, same = self.kind.divergence(self.own, new).mean(), self.kind.agreement(self.own, new).mean()
        if self.labels is None:
            return Effect(float(lost), float(same))
        logs = self.kind.log_probs(new)  # type: ignore[union-attr]
        loss = -logs.gather(1, self.labels[:, None]).mean()
        return Effect(float(lost), float(same), float(loss), float((new.argmax(1) == self.labels).double().mean()))

    def _are_answers(self, labels: Tensor | None) -> bool:
        """Whether labels can be numbers of the answer's classes."""
        if labels is None or not self.is_choice:
            return False
        classes = self.kind.log_probs(self.own[:1]).shape[1]  # type: ignore[union-attr]
        return bool((labels >= 0).all() and (labels < classes).all())

    def _differ(self) -> Tensor:
        if self.is_choice:
            return self.own.argmax(1) != self.donors.argmax(1)
        return self.kind.divergence(self.own, self.donors) > _ONE_SD

    def _is(self, whose: Tensor, new: Tensor) -> Tensor:
        """Whether new answers are those: the same choice, or nearer than half of the way between the row's and the donor's."""
        if self.is_choice:
            return new.argmax(1) == whose.argmax(1)
        return self.kind.divergence(whose, new) < self.kind.divergence(self.own, self.donors) / 4


def question_of(
    known: Question | None,
    head: Any,
    model: Any,
    layer: str,
    inputs: Any,
    answer: Any,
    noise: object,
    where: dict[str, Any],
) -> Question:
    """What was asked: a head, a model with a layer and inputs, or what is known already.

    Raises:
        ValueError: none of them, or both a head and a model.
        TypeError: a head that is no function.
    """
    if (head is not None and model is not None) or (model is None) != (inputs is None):
        raise ValueError("faithfulness needs a head=, or a model with layer and inputs, got parts of both; give one")
    if head is None and model is None:
        if known is None:
            raise ValueError(
                "faithfulness needs what comes after the layer, got nothing; pass head=, a function from rows to answers, or "
                "(model, layer, inputs)"
            )
        return known
    if model is not None:
        return Question(Tail(model, layer, inputs, **where), answer, noise)
    if isinstance(head, Question):
        return head
    if not callable(head):
        raise TypeError(f"head must be a function from rows (n, D) to answers, got {type(head).__name__}")
    return Question(head, answer, noise)


def check_rows(head: object, x: Tensor, numbers: Tensor) -> None:
    """Whether a head that knows its rows knows these.

    Raises:
        ValueError: it is of fewer rows, or the layer puts out other rows there.
    """
    if not isinstance(head, Tail):
        return
    if int(numbers.max()) >= len(head):
        raise ValueError(
            f"the head is of {len(head)} rows, the analyzer has row number {int(numbers.max())}; "
            "give the inputs of the data that was fitted, in the same order"
        )
    own = head.rows(numbers[:_SHOWN]).to(x)
    shown = x[:_SHOWN]
    if own.shape[1] != x.shape[1]:
        raise ValueError(
            f"the layer puts out {own.shape[1]} columns, the rows have {x.shape[1]}; name the layer fitted"
        )
    off, sd = (own - shown).square().mean().sqrt(), shown.std(0, correction=0).square().mean().sqrt()
    if not off <= _OFF * sd:
        raise ValueError(
            f"the layer's rows at these inputs are not the analyzer's: they differ by {float(off / sd):.2g} of their sd; "
            "give the inputs of the data that was fitted, in the same order, and the same layer and weights"
        )
