"""Before training: the split, what is taken off the rows, which directions enter the flow, and the front fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from flows.flow import FunnelFlow
from flows.front import Front
from flows.geometry.directions import supported
from flows.geometry.nuisance import Nuisance
from flows.geometry.outlying import outlying
from flows.io.rows import Picked
from flows.nets.questions import Displaced
from flows.nets.relevance import Relevance, measure
from training.data.activations import Activations
from training.data.batches import WhiteRows
from training.data.oddities import Oddity, centred, constant_in_training, in_a_series, listed, oddities, set_aside
from training.data.pieces import pieces_apart
from training.data.series import in_blocks
from training.data.twins import twins_joined
from training.data.whitening import White, whitened
from training.settings import ModelSettings, PathSettings

FEWEST_ROWS = 100
MOST_HELD_OUT = 100_000  # what is measured on more of them is known no better
_WIDE, _FEW = 32, 20  # columns, and rows for each, that make rows wide and few
_MOST_ASKED = 20_000  # rows on disk that a head is asked about


@dataclass
class Prepared:
    """A flow with its front fitted, whitened rows, the split they come from, what was done, what is odd about the rows."""

    flow: FunnelFlow
    data: WhiteRows
    train: Tensor
    held_out: Tensor
    offset: float
    notes: list[str]
    activations: Activations
    relevance: Relevance | None = None
    oddities: list[Oddity] = field(default_factory=list)


@torch.inference_mode(False)
def prepare(
    activations: Activations, model: ModelSettings, path: PathSettings, seed: int, fewest_rows: int = FEWEST_ROWS
) -> Prepared:
    """Split by source, take the nuisance off, fit the front to the training rows, whiten; columns full of exact ties get jitter.

    Blocks of a recording are sources, identical sources are one, and rows far out are set aside. Rows that are not in memory are
    read six times, for checks and the front, and after that batch by batch.
    """
    if len(activations) < fewest_rows:
        raise ValueError(
            f"too few rows: got {len(activations)}, expected at least {fewest_rows}, better 100 for each column; add rows"
        )
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must lie in [0, 2**31), got {seed}")
    activations, series = in_blocks(activations)
    alike = series.oddity if series else None if activations.sources is not None else in_a_series(activations.x)
    activations, twins = twins_joined(activations)
    aside = outlying(activations.x)
    known = (centred(activations.about.get("offset")), alike, twins, set_aside(aside, len(activations)))
    train, held_out = activations.split(path.held_out, seed, aside)
    train = series.apart(train, held_out) if series else train
    held_out = held_out[torch.randperm(len(held_out), generator=torch.Generator().manual_seed(seed))]
    activations, nuisance, notes = without_nuisance(activations, train)
    x = activations.x
    rows = x[train] if isinstance(x, Tensor) else Picked(x, train)
    relevance, found = _relevance(activations, train, held_out, model, seed, moved=nuisance is not None)
    notes += found
    front, said = _front(rows, x[held_out[:MOST_HELD_OUT]], relevance, model)
    flow = FunnelFlow.behind(
        front,
        nuisance=nuisance,
        hidden=model.hidden,
        components=model.components,
        exit_width=model.exit_width,
        law=model.law,
        steps=model.steps,
        energy=model.energy,
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed)
    white = whitened(flow.front, rows, generator)
    white_held = White(flow.front, x[held_out[:MOST_HELD_OUT]], generator)[:]
    notes += [*said, *_notes(flow)]
    if len(held_out) > MOST_HELD_OUT:
        notes.append(f"measured on {MOST_HELD_OUT} of {len(held_out)} held-out rows, drawn by seed {seed}")
        held_out = held_out[:MOST_HELD_OUT]
    alone = constant_in_training(rows, x[held_out[:MOST_HELD_OUT]], front)
    odd = [
        oddity for oddity in (*known, alone, *oddities(rows, front, series.time if series else 1)) if oddity is not None
    ]
    offset = -float(flow.front.ladj + flow.front.idle_log_prob(x[held_out].to(flow.exits.tau)).mean())
    batches = WhiteRows(white, white_held, path.batch, seed)
    return Prepared(flow, batches, train, held_out, offset, notes, activations, relevance, odd)


def without_nuisance(activations: Activations, train: Tensor) -> tuple[Activations, Nuisance | None, list[str]]:
    """The rows with the share of their nuisance taken off, as the training rows tell it, and what to say of it.

    Raises:
        ValueError: rows that stay on disk, or a nuisance that has more classes than the training rows can tell.
    """
    given, x = activations.nuisance, activations.x
    if given is None:
        return activations, None, []
    if not isinstance(x, Tensor):
        raise ValueError(
            f"a nuisance is taken off rows in memory, these {len(x)} rows stay on disk; take it off before"
        )
    nuisance, residual, share = Nuisance.of(x[train], given[train])
    rows = x - nuisance.effect(given, len(x)) if len(train) < len(x) else x.clone()
    rows[train] = residual
    kind = f"{nuisance.numbers} covariates" if nuisance.numbers else f"{sum(nuisance.levels)} classes"
    note = f"nuisance: {kind} took off {share:.1%} of the variance"
    question = activations.question  # the net is asked at the rows as they were
    if question is not None:
        question = replace(question, head=Displaced(question.head, x - rows))
    return replace(activations, x=rows, nuisance=None, question=question), nuisance, [note]


def _relevance(
    activations: Activations, train: Tensor, held_out: Tensor, model: ModelSettings, seed: int, moved: bool
) -> tuple[Relevance | None, list[str]]:
    """What the net uses, or what tells pieces apart, and a note of the latter.

    What the net uses is as it came, or measured here where there is something to ask and it came with other limits or is not
    there; where a nuisance was taken off (``moved``) G stays as it came and the rest is measured here."""
    given, limits = activations.relevance, (model.largest_loss, model.least_agreement)
    if model.front not in ("auto", "relevance", "pieces"):
        return None, []
    if not isinstance(activations.x, Tensor):
        train, held_out = train[:: -(-len(train) // _MOST_ASKED)], held_out[:: -(-len(held_out) // _MOST_ASKED)]
    if model.front == "pieces":
        found, note = pieces_apart(activations.x, train, held_out, activations.sources, limits, seed)
        return found, [note]
    same = given is not None and not moved and limits == (given.largest_loss, given.least_agreement)
    if activations.question is None or same:
        return given, []
    measured = measure(
        activations.question,
        activations.x,  # type: ignore[arg-type]
        train,
        held_out,
        model.largest_loss,
        model.least_agreement,
        seed,
        model.noise_floor,
        None if given is None else given.metric,
        activations.sources,
    )
    return measured, []


def _front(rows, held_out: Tensor, relevance: Relevance | None, model: ModelSettings) -> tuple[Front, list[str]]:  # type: ignore[no-untyped-def]
    """The front that the settings ask for, and why it has the directions that it has."""
    count, width = rows.shape
    kind = model.front
    if kind in ("auto", "pieces"):
        short = count <= width or (width > _WIDE and count < _FEW * width)
        kind = "relevance" if relevance is not None else "principal" if short else "whiten"
    if kind == "whiten":
        return Front.from_rows(rows, model.noise_floor, model.columns, model.augment), []
    if kind == "relevance":
        metric, keep = (None, None) if relevance is None else (relevance.metric, model.keep or relevance.kept)
        front = Front.from_rows(rows, model.noise_floor, model.columns, model.augment, kind, metric, keep)
        return front, []
    front = Front.from_rows(rows, model.noise_floor, model.columns, model.augment, kind, keep=model.keep or None)
    if model.keep:
        return front, [f"front: {front.kept} of {front.used} principal directions enter the flow, as asked"]
    held = holding_up(front, held_out)
    front = front.keeping(min(front.kept, held))
    return front, [
        f"front: {front.kept} of {front.used} principal directions enter the flow: {count} rows support "
        f"{supported(front.scales, count)}, and {held} hold up on other rows; the others count as Gaussian. A structure in a "
        "direction of smaller variance needs a head, model.keep or model.front=whiten"
    ]


def holding_up(front: Front, held_out: Tensor, least: float = 0.8) -> int:
    """How many leading principal directions have on held-out rows at least ``least`` of the variance of the training rows.

    Of small samples of wide rows the principal directions fit chance; there the held-out variance falls short. A direction falls
    short where it does so by more than two standard errors of a variance, each (2 / rows)^(1/2) of it.
    """
    shares = front.coordinates(held_out.to(front.scales)).square().mean(0)
    short = (shares < least - 2 * (2 / len(held_out)) ** 0.5).nonzero().squeeze(1)
    return max(2, int(short[0]) if len(short) else front.stored)


def _notes(flow: FunnelFlow) -> list[str]:
    front, notes = flow.front, []
    if front.used < front.features:
        notes.append(f"{front.features - front.used} constant or duplicate columns set aside")
    if front.kept < front.used and front.kind == "whiten":
        notes.append(
            f"{front.used - front.kept} of {front.used} principal directions lie below the noise floor "
            f"{float(front.floor):.3g} and count as Gaussian there"
        )
    jittered = front.jittered.nonzero().squeeze(1).tolist()
    if jittered:
        notes.append(
            f"columns {listed(jittered)} hold more than 1 % exact ties: jittered at the noise floor {float(front.floor):.3g}"
        )
    return notes
