"""The hierarchy of structure dimensions: against a flow whose errors are known on paper, and where there is nothing."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from analysis.dimension.hierarchy import hierarchy
from analysis.nothing import Nothing
from flows.flow import FunnelFlow

pytestmark = pytest.mark.quick


def linear(mask: list[int], scales: tuple[float, ...] = (4.0, 3.0, 2.0, 1.0)) -> tuple[FunnelFlow, torch.Tensor]:
    """A flow that only whitens: z_i is the i-th principal component."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    x = torch.randn(800, 4, generator=generator, dtype=torch.float64) * torch.tensor(scales) @ turn + 5
    flow = FunnelFlow.from_rows(x, hidden=8)
    flow.exits.set_open(torch.tensor(mask) > 0)
    return flow, x


def test_a_linear_flow_loses_principal_variances() -> None:
    flow, x = linear([1, 1, 0, 1])
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    share = (variances / variances.sum()).tolist()
    flow.order = torch.tensor([2, 3, 0, 1])  # prices fall in this order; 2 is shut
    found = hierarchy(flow, x, worth=[0.3, 0.2, 0.2], prices=[0.5, None, 0.1, 0.9])
    assert [d.index for d in found.dimensions] == [3, 0, 1]
    assert [d.worth for d in found.dimensions] == [0.3, 0.2, 0.2]
    assert [d.price for d in found.dimensions[:2]] == [0.9, 0.5] and np.isnan(found.dimensions[2].price)
    assert found.projected == pytest.approx(share[2], abs=1e-6)
    assert found.nothing_kept == pytest.approx(1, abs=1e-6)
    assert [d.moved for d in found.dimensions] == pytest.approx([share[3], share[0], share[1]], abs=1e-6)
    assert [d.zeroed for d in found.dimensions] == pytest.approx(
        [share[2] + d.moved for d in found.dimensions], abs=1e-6
    )
    assert [d.kept for d in found.dimensions] == pytest.approx([1 - share[3], share[1] + share[2], share[2]], abs=1e-6)
    assert found.variance == pytest.approx(float(variances.sum()))


def test_exits_are_shown_by_depth() -> None:
    flow, x = linear([1, 1, 1, 1])
    flow.exits.tau.data = torch.tensor([0.3, flow.exits.open_depth, 0.7, -0.125], dtype=torch.float64)
    found = hierarchy(flow, x)
    assert list(found.noise_exits) == [2, 0, 3]
    assert list(found.noise_exits.values()) == pytest.approx([0.7, 0.3, -0.125])
    assert [d.exit_depth for d in found.dimensions] == pytest.approx([1.125])
    assert "noise: 3 dimensions, out at depth -0.12 to 0.70" in repr(found)


def test_errors_are_those_of_the_flow(make_flow) -> None:
    flow = make_flow(5, "open")
    flow.exits.set_open(torch.tensor([1, 0, 1, 0, 0]) > 0)
    x = flow.front.inverse(torch.randn(50, 5, dtype=torch.float64)).detach()
    found = hierarchy(flow, x)
    with torch.no_grad():
        s = flow.encode(x)
        first = flow.decode(s * torch.tensor([1.0, 0.0]))

        def share(a, b):
            return float((a - b).square().sum() / (x - x.mean(0)).square().sum())

        assert found.dimensions[1].zeroed == pytest.approx(share(first, x), abs=1e-6)
        assert found.dimensions[0].kept == pytest.approx(share(first, x), abs=1e-6)
        assert found.dimensions[1].moved == pytest.approx(share(first, flow.project(x)), abs=1e-6)
        assert found.projected == found.dimensions[1].kept == pytest.approx(share(flow.project(x), x), abs=1e-6)
        assert found.nothing_kept == pytest.approx(share(flow.decode(0 * s), x), abs=1e-6)


def test_no_structure_is_an_answer() -> None:
    flow, x = linear([0, 0, 0, 0])
    found = hierarchy(flow, x, worth=[], prices=[None] * 4)
    assert found.dimensions == [] and found.projected == found.nothing_kept == pytest.approx(1, abs=1e-6)
    assert "nothing but noise at this regularity" in repr(found) and len(found.noise_exits) == 4
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["dimensions"] == []
    assert "nothing but noise" in found.plot().get_title()


def test_one_row_has_no_variance_to_lose() -> None:
    flow, x = linear([1, 0, 0, 0])
    found = hierarchy(flow, x[:1])
    assert np.isnan(found.projected) and found.to_dict()["projected"] is None and found.rows == 1
    assert "-" in repr(found)
    found.plot()


def test_rows_are_drawn_by_the_seed(untouched_rng) -> None:
    flow, x = linear([1, 1, 0, 0])
    with untouched_rng():
        found = hierarchy(flow, x.float().numpy(), seed=3, most_rows=100)
    assert (found.rows, found.seed) == (100, 3) and "100 rows, seed 3" in repr(found)
    assert hierarchy(flow, x.float(), seed=3, most_rows=100).to_dict() == found.to_dict()
    assert hierarchy(flow, x.float(), seed=4, most_rows=100).variance != found.variance


def test_result_prints_stores_and_draws() -> None:
    flow, x = linear([1, 1, 1, 0])
    found = hierarchy(flow, x, worth=[0.3, 0.2, 0.1])
    lines = repr(found).splitlines()
    assert len(lines) == 7 and lines[2].split()[:4] == ["s1", "0", "0.300", "-"]
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert stored["dimensions"][0]["worth"] == 0.3 and stored["dimensions"][0]["price"] is None
    ax = found.plot()
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == [found.nothing_kept, *(d.kept for d in found.dimensions)]
    assert found.plot(ax) is ax


def test_bad_input_is_named() -> None:
    flow, x = linear([1, 1, 0, 0])
    with pytest.raises(ValueError, match="must have 4 columns, got 3"):
        hierarchy(flow, x[:, :3])
    with pytest.raises(ValueError, match="worth must have 2 entries, got shape"):
        hierarchy(flow, x, worth=[0.1])
    with pytest.raises(ValueError, match="prices must have 4 entries, got shape"):
        hierarchy(flow, x, prices=[0.1, 0.2])


def test_nothing_says_so_when_asked_and_is_copied_and_stored():
    found = Nothing("levels")
    with pytest.raises(AttributeError, match=r"levels: k = 0, nothing but noise.*no 'betti' to ask for"):
        found.betti(0.9)
    with pytest.raises(IndexError, match=r"levels: k = 0.*no \[0\] to ask for"):
        found[0]
    assert copy.deepcopy(found) == pickle.loads(pickle.dumps(found)) == found
    assert not hasattr(found, "betti")
