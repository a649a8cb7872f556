"""Pieces whose shares of the rows are reversed between two models: evidence by default, left out where that is asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from analysis import Aligner
from analysis.alignment.proportions import even, lines

SHIFT = np.array([1.5, 0, 0])
TURN = np.linalg.qr(np.random.default_rng(9).normal(size=(3, 3)))[0]


def two(share, seed, count=800):
    """A long piece with a share of the rows, and a round one; and which rows are in the long one."""
    draw = np.random.default_rng(seed)
    first = draw.random(count) < share
    one, other = draw.normal(size=(count, 3)) * [0.6, 0.15, 0.15], draw.normal(size=(count, 3)) * 0.3
    return np.where(first[:, None], one - SHIFT, other + SHIFT), first


def aligned(**settings):
    a, _ = two(0.7, 0)
    b, of_b = two(0.3, 1)
    return Aligner(rows=160, null_draws=19, **settings).fit(a, b @ TURN), of_b


@pytest.fixture(scope="module")
def with_shares():
    return aligned()


@pytest.fixture(scope="module")
def without():
    return aligned(proportions=False)


def lands_right(found):
    """Whether a's long piece is sent to b's."""
    aligner, of_b = found
    a, of_a = two(0.7, 0)
    middle = aligner.transform_structure(a)[of_a].mean(0)
    ends = [np.linalg.norm(middle - aligner.b_.s[rows].mean(0)) for rows in (of_b, ~of_b)]
    return ends[0] < ends[1]


def test_shares_count_as_evidence_and_that_is_said(with_shares):
    aligner, _ = with_shares
    assert not lands_right(with_shares) and aligner.differs_
    text = aligner.verdict()
    assert "the shares of the pieces count as evidence (67%, 33% in a, 70%, 30% in b)" in text
    assert "proportions=False leaves them out" in text


def test_geometry_alone_finds_the_map_that_shares_hide(without):
    aligner, _ = without
    assert lands_right(without) and aligner.is_aligned_ and not aligner.differs_
    assert (
        "the shares of the pieces were left out" in aligner.verdict() and "count as evidence" not in aligner.verdict()
    )
    assert aligner.to_dict()["proportions"] is False


def test_matches_keep_the_shares_of_all_rows(without):
    aligner, _ = without
    assert [(m.a, m.b) for m in sorted(aligner.matches_, key=lambda m: m.a)] == [(0, 1), (1, 0)]
    assert all(
        m.score > 0.9 and abs(m.mass_a + m.mass_b - 1) < 0.1 and abs(m.mass_a - 0.5) > 0.15 for m in aligner.matches_
    )


def test_as_many_rows_of_every_piece():
    pieces = np.repeat([0, 1, 2], [500, 100, 40])
    rows = even(pieces, "a")
    assert np.bincount(pieces[rows]).tolist() == [40, 40, 40] and (np.diff(rows) > 0).all()
    assert even(pieces, "a").tolist() == rows.tolist() != even(pieces, "a", seed=1).tolist()
    with pytest.raises(ValueError, match="of b's 2 pieces that is 3 of 103 rows: 40 in all are needed"):
        even(np.repeat([0, 1], [100, 3]), "b")


@pytest.mark.parametrize("sizes, said", [([70, 30], True), ([51, 49], False), ([100], False)])
def test_one_piece_or_equal_shares_are_not_worth_a_line(sizes, said):
    side = SimpleNamespace(pieces=np.repeat(np.arange(len(sizes)), sizes))
    assert bool(lines(SimpleNamespace(a_=side, b_=side, proportions=True))) is said


def test_wide_clouds_in_other_proportions():
    """Six pieces in 12 dimensions: where the first is the heaviest in a and the last in b, geometry says which is which."""
    draw = np.random.default_rng(0)
    centres = 3 * draw.normal(size=(6, 12))
    shares = np.array([0.4, 0.2, 0.12, 0.1, 0.1, 0.08])
    labels = [np.random.default_rng(s).choice(6, 900, p=p) for s, p in ((1, shares), (2, shares[::-1]))]
    a, b = (centres[own] + 0.4 * np.random.default_rng(i).normal(size=(900, 12)) for i, own in enumerate(labels))
    found = Aligner(proportions=False).fit(a, b)
    assert found.metric_ == "layer" and "were left out" in found.verdict()
    off = np.linalg.norm(found.map_(centres) - centres, axis=1)
    assert off.max() < 0.5 and abs(found.map_.scale - 1) < 0.02
