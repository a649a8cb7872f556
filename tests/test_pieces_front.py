"""A front without a net's head: directions that tell the rows' own pieces apart."""

import pytest
import torch

from training.data.activations import Activations
from training.data.pieces import UNCLEAR, clearest_cut, pieces_apart
from training.data.preparing import prepare
from training.settings import ModelSettings, PathSettings

LIMITS = (0.01, 0.99)


def clusters(rows=600, wide=8):
    """Four clusters in a plane of eight columns, six of which are noise of the same variance."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(4, (rows,), generator=generator)
    x = torch.randn(rows, wide, generator=generator)
    x[:, :2] += 8 * torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])[labels]
    turn = torch.linalg.qr(torch.randn(wide, wide, generator=generator))[0]
    return x @ turn, labels, turn


def prepared(x, **settings):
    return prepare(Activations(x), ModelSettings(front="pieces", **settings), PathSettings(), 0)


def test_the_directions_of_four_clusters_are_their_plane():
    x, _, turn = clusters()
    ready = prepared(x)
    assert ready.flow.front.kind == "relevance" and ready.flow.front.kept == 2
    moves = ready.flow.front.displacement(torch.eye(2)) @ turn.T
    assert moves[:, 2:].norm() < 0.2 * moves[:, :2].norm()
    assert ready.relevance.answer == "pieces" and "telling pieces apart takes 2 of 8" in repr(ready.relevance)
    assert any("2 of 8 directions tell 4 pieces apart" in note for note in ready.notes)


def test_pieces_are_cut_as_they_are():
    x, labels, _ = clusters()
    found, clearness = clearest_cut(x.double(), 0)
    pairs = torch.stack([found, labels], 1).unique(dim=0)
    assert len(pairs) == 4 and clearness > 0.5


@pytest.mark.parametrize("settings", [{}, {"keep": 3}])
def test_where_no_cut_is_clear_directions_are_those_of_auto(settings):
    x = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    ready = prepared(x, **settings)
    assert ready.relevance is None and ready.flow.front.kind == "whiten" and ready.flow.front.kept == 8
    assert any(f"it takes {UNCLEAR}" in note for note in ready.notes)


def test_more_directions_can_be_asked_for():
    assert prepared(clusters()[0], keep=5).flow.front.kept == 5


def test_the_same_seed_finds_the_same_bits_and_leaves_global_random_state(untouched_rng):
    x, _, _ = clusters()
    train, held = Activations(x).split()
    with untouched_rng():
        one, other = (pieces_apart(x, train, held, None, LIMITS, 7)[0] for _ in range(2))
    assert torch.equal(one.metric, other.metric) and one.curve == other.curve


def test_units_and_turns_leave_the_directions():
    x, _, turn = clusters()
    one, other = (prepared(rows).flow.front for rows in (x, 0.001 * x @ turn))
    a, b = one.whiten(x), other.whiten(0.001 * x @ turn)
    assert one.kept == other.kept == 2
    assert torch.linalg.svdvals(a.T @ b / len(x)).min() > 0.99
