"""The tear: maps that tear and maps that do not, singular values against autograd, verdicts and their limits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.certification import tear as module
from analysis.certification.edges import _patches, neighbour_edges
from analysis.certification.tear import tear
from flows.flow import FunnelFlow

T = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
CIRCLE = np.c_[np.cos(T), np.sin(T)]
EIGHT = np.c_[np.sin(T), np.sin(T) * np.cos(T)]
PHI = np.random.default_rng(1).uniform(0, 2 * np.pi, 1000)
TORUS = np.c_[(1 + 0.45 * np.cos(PHI)) * CIRCLE[:, 0], (1 + 0.45 * np.cos(PHI)) * CIRCLE[:, 1], 0.45 * np.sin(PHI)]
CLUSTERS = np.random.default_rng(2).choice([-1, 1], (1000, 1)) * [1, 0] + 0.2 * np.random.default_rng(3).normal(
    size=(1000, 2)
)


def structured(mask: list[int], strength: float = 0.3, rows: int = 600) -> tuple[FunnelFlow, torch.Tensor]:
    """A flow far from the identity, fitted to a ring times noise, and its rows."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, len(mask), generator=generator, dtype=torch.float64)
    x[:, :2] = 2 * torch.nn.functional.normalize(x[:, :2]) + 0.05 * x[:, :2]
    flow = FunnelFlow.from_rows(x, hidden=16)
    with torch.no_grad():
        flow.field.W3.copy_(strength * torch.randn(flow.field.W3.shape, generator=generator, dtype=torch.float64))
    flow.exits.set_open(torch.tensor(mask) > 0)
    return flow, x


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CIRCLE, 3 * CIRCLE + 1),
        (CIRCLE, CIRCLE * [1, 0.2]),
        (CIRCLE * [1, 0.2], CIRCLE),
        (TORUS, TORUS * [1, 1, 3]),
        (CIRCLE, EIGHT),
        (CLUSTERS, CLUSTERS * [2, 1]),
    ],
    ids=["moved", "pressed", "stretched", "torus", "circle to eight", "clusters apart"],
)
def test_what_is_not_torn(before: np.ndarray, after: np.ndarray) -> None:
    edges = neighbour_edges(before, after)
    assert edges.decided and not edges.torn and edges.lost == 0 and edges.continuity > 0.99


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CIRCLE, T[:, None]),
        (CIRCLE, np.c_[np.cos(0.8 * T), np.sin(0.8 * T)]),
        (TORUS, np.c_[T, 0.45 * np.cos(PHI), 0.45 * np.sin(PHI)]),
        (EIGHT, CIRCLE),
        (np.abs(CIRCLE), CIRCLE),
        (CIRCLE, np.random.default_rng(0).permutation(CIRCLE)),
        (np.c_[np.argsort(np.argsort(CLUSTERS[:, 0])) / 1000, CLUSTERS[:, 1]], CLUSTERS),
    ],
    ids=["cut open", "gap", "torus cut", "eight pulled apart", "unfolded", "shuffled", "one blob to two"],
)
def test_what_is_torn(before: np.ndarray, after: np.ndarray) -> None:
    edges = neighbour_edges(before, after)
    assert edges.decided and edges.torn
    assert "torn patches" in repr(edges)


def test_a_patch_names_its_rows_and_pairs() -> None:
    edges = neighbour_edges(CIRCLE, T[:, None], neighbours=10, index=np.arange(1000) + 5000)
    (patch,) = edges.patches
    ends = T[np.array(patch.rows) - 5000]
    assert 3 <= patch.pairs <= 6 and patch.stretch > 100
    assert ((ends < 0.1) | (ends > 2 * np.pi - 0.1)).all() and (ends < 0.1).any() and (ends > 6).any()


def test_a_patch_needs_several_disjoint_pairs() -> None:
    """Rows on a line, each with the four beside it; torn between 9 and 10, where 8-10, 9-10, 9-11 are edges both ways."""
    rows = np.arange(20)
    nearest = (rows[:, None] + np.array([-2, -1, 1, 2])) % 20
    torn = ((rows[:, None] < 10) != (nearest < 10)) & (abs(nearest - 9.5) < 2)
    for fewest, patches in ((2, [([8, 9, 10, 11], 2, 5.0)]), (3, [])):
        assert _patches(nearest, torn, np.full((20, 4), 5.0), fewest, rows) == (0.0, patches)


def test_a_cut_circle_is_seen_with_few_neighbours() -> None:
    assert neighbour_edges(CIRCLE, T[:, None], neighbours=6).torn


def test_a_few_rows_that_jump_decide_nothing() -> None:
    """Each of them has the largest stretch of all, and tears every edge of its own."""
    after = CIRCLE.copy()
    jumping = np.random.default_rng(1).choice(1000, 20, replace=False)
    after[jumping] = -after[jumping]
    edges = neighbour_edges(CIRCLE, after)
    assert edges.quantiles["0.99"] > 50 and edges.lost == pytest.approx(0.02) and not edges.torn
    assert set(edges.worst_rows) <= set(jumping.tolist())
    after[:200] = -CIRCLE[np.random.default_rng(2).permutation(1000)[:200]]
    assert neighbour_edges(CIRCLE, after).torn, "a fifth of the rows is no longer a few"


def test_stretch_is_length_over_length() -> None:
    edges = neighbour_edges(TORUS, 2.5 * TORUS, neighbours=4)
    assert edges.stretch.shape == (1000, 4) and edges.stretch == pytest.approx(2.5)
    assert edges.quantiles == pytest.approx({"0.5": 2.5, "0.9": 2.5, "0.99": 2.5, "0.999": 2.5})
    assert edges.continuity == edges.trustworthiness == 1


def test_neighbours_that_are_strangers_already_cannot_tell() -> None:
    x = np.random.default_rng(0).normal(size=(300, 13))
    edges = neighbour_edges(x, x)
    assert edges.nearness > 0.25 and not edges.decided and "edges cannot tell" in repr(edges)


def test_copies_of_a_row_make_no_edge() -> None:
    after = np.repeat(CIRCLE, 2, axis=0)
    after[1500:1520] *= 40
    edges = neighbour_edges(np.repeat(CIRCLE, 2, axis=0), after)
    assert len(edges.stretch) == 1000 and np.isfinite(edges.stretch).all()
    assert set(edges.worst_rows) <= set(range(1500, 1520, 2)), "rows are named as the caller has them"


def test_singular_values_are_the_jacobians() -> None:
    flow, x = structured([0, 1, 0, 1])
    found = tear(flow, x, jacobians=5)
    assert found.singular_values.shape == (5, 4) and found.structure_singular_values.shape == (5, 2)
    for j, row in enumerate(found.jacobian_rows):
        start = flow.front(x[row : row + 1]).detach()
        jacobian = torch.autograd.functional.jacobian(lambda z: flow.solve(z[None]).z[0], start[0])
        assert found.singular_values[j] == pytest.approx(torch.linalg.svdvals(jacobian).numpy(), rel=1e-9)
        structural = torch.linalg.svdvals(jacobian[flow.structure])
        assert found.structure_singular_values[j] == pytest.approx(structural.numpy(), rel=1e-9)


def test_the_worst_rows_are_named_in_the_callers_order() -> None:
    flow, x = structured([1, 1, 0])
    found = tear(flow, x, most_rows=200, jacobians=100)
    alone = tear(flow, x[found.worst_rows[:1]])
    assert alone.singular_values[0, 0] == pytest.approx(found.singular_values.max(), rel=1e-9)


def test_a_flow_that_moves_nothing_is_trusted() -> None:
    flow, x = structured([1, 1, 0, 0], strength=0)
    found = tear(flow, x)
    assert found.verdict == "trusted" and found.singular_values == pytest.approx(1)
    assert found.latent is not None and found.onto is not None and found.opened is not None
    assert found.latent.stretch == pytest.approx(1) and found.opened.stretch == pytest.approx(1)
    assert (found.onto.stretch <= 1 + 1e-9).all() and found.onto.stretch.min() < 0.9


def test_a_gentle_flow_is_trusted_and_a_wild_one_is_not() -> None:
    assert tear(*structured([1, 1, 0])).verdict == "trusted"
    flow, x = structured([1, 1, 0], strength=3)
    flow.steps = 16
    wild = tear(flow, x)
    assert wild.verdict != "trusted" and wild.to_dict()["largest_singular_value"]["0.99"] > 10


def test_a_flow_that_does_not_invert_is_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, x = structured([1, 1, 0])

    def stiff(*_: object) -> None:
        raise RuntimeError("inverse did not converge in solver step 4 of 4; raise flow.steps")

    monkeypatch.setattr("flows.flow.invert_rk4", stiff)
    found = tear(flow, x[:100])
    assert found.verdict == "not decided" and "inverse did not converge" in found.reason
    assert found.opened is None and found.latent is not None and len(found.singular_values) == 100


def test_the_rule() -> None:
    fine, cut = neighbour_edges(CIRCLE, CIRCLE), neighbour_edges(CIRCLE, T[:, None])
    noise = np.random.default_rng(0).normal(size=(300, 13))
    unclear = neighbour_edges(noise, noise)
    calm, one_wild = np.ones((1000, 2)), np.ones((1000, 2))
    one_wild[0] = 1e6
    assert module._verdict(2, fine, fine, calm)[0] == "trusted"
    assert module._verdict(2, fine, fine, one_wild)[0] == "trusted", "one row decides nothing"
    assert module._verdict(2, fine, fine, 11 * calm)[0] == "not decided"
    assert module._verdict(2, unclear, fine, calm)[0] == "not decided"
    assert module._verdict(2, fine, unclear, calm)[0] == "not decided"
    verdict, reason = module._verdict(2, cut, fine, calm)
    assert verdict == "torn" and "neighbours in the data are strangers in s" in reason
    verdict, reason = module._verdict(2, unclear, cut, calm)
    assert verdict == "torn" and "neighbours in s are strangers" in reason
    assert module._verdict(2, replace(cut, decided=False), fine, calm)[0] == "not decided"
    assert module._verdict(0, None, None, calm)[0] == "no structure"


def test_no_structure() -> None:
    found = tear(*structured([0, 0, 0]))
    assert found.verdict == "no structure" and "Nothing but noise at this regularity" in repr(found)
    assert found.onto is found.opened is found.glued is None and found.latent is not None
    assert found.structure_singular_values.shape == (500, 0)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["opened"] is None
    found.plot()


@pytest.mark.parametrize("rows", [1, 4, 5, 12])
def test_too_few_rows_are_not_decided(rows: int) -> None:
    flow, x = structured([1, 1, 0])
    found = tear(flow, torch.cat([x[:rows], x[:rows]]))
    assert found.verdict == "not decided" and found.rows == rows
    assert (found.latent is None) == (rows < 5)
    json.dumps(found.to_dict(), allow_nan=False)
    found.plot()


def test_rows_are_drawn_by_the_seed(untouched_rng) -> None:
    flow, x = structured([1, 1, 0, 0])
    with untouched_rng():
        found = tear(flow, x.numpy(), seed=1, most_rows=100, jacobians=30)
    assert (found.rows, found.seed, len(found.jacobian_rows)) == (100, 1, 30)
    assert "100 distinct rows, 10 neighbours, seed 1" in repr(found)
    assert tear(flow, x, seed=1, most_rows=100, jacobians=30).to_dict() == found.to_dict()
    assert tear(flow, x, seed=2, most_rows=100, jacobians=30).worst_rows != found.worst_rows


def test_result_stores_and_draws() -> None:
    flow, x = structured([1, 1, 0])
    found = tear(flow.float(), x.float(), most_rows=300)
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert stored["verdict"] == "trusted" and stored["opened"]["patches"] == []
    assert set(stored["largest_singular_value"]) == {"0.5", "0.9", "0.99", "0.999"}
    ax = found.plot()
    assert ax.get_title() == "Tear: trusted" and len(ax.get_legend_handles_labels()[1]) == 3
    assert found.plot(ax) is ax
    table = repr(found).splitlines()
    assert [line.split()[-1] for line in table[2:6]] == ["0"] * 4 and "cannot tell" not in repr(found)
    sparse = replace(found, opened=replace(found.opened, decided=False))
    assert repr(sparse).splitlines()[4].endswith("  ?") and "edges cannot tell a tear" in repr(sparse)


def test_bad_input_is_named() -> None:
    flow, x = structured([1, 1, 0])
    with pytest.raises(ValueError, match="must have 3 columns, got 2"):
        tear(flow, x[:, :2])
    with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
        tear(flow, x, neighbours=0)
    with pytest.raises(ValueError, match="got 1000 and 999 rows"):
        neighbour_edges(CIRCLE, CIRCLE[1:])
    with pytest.raises(ValueError, match="at least 5 distinct rows, got 1"):
        neighbour_edges(np.ones((9, 2)), np.ones((9, 2)))
