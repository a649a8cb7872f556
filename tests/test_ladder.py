"""The ladder: rungs by hand, what the text says of them, and PCA's share of the variance at the same k."""

import json
import re

import numpy as np
import pytest
import torch

from flows.front import Front
from training.stages.ladder import Ladder, principal_share
from training.stages.selection import choose

pytestmark = pytest.mark.quick

NULL = 0.03


def rows(mean, spread=0.02):
    """400 held-out rows with exactly this mean and standard deviation."""
    return mean + spread * np.tile([-1.0, 1.0], 200)


def front_of(sds, kind="whiten"):
    front = Front(len(sds), kind=kind)
    front.scales = torch.tensor(sds)
    return front


def ladder_of(J, sds=(3.0, 2.0, 1.0, 1.0)):
    choice = choose({k: rows(mean) if k else rows(mean, 0.0) for k, mean in J.items()}, NULL)
    return Ladder.of(choice.hull, choice.structure_dim, NULL, front_of(sds))


def test_rungs_are_the_edges_of_the_hull_with_their_errors():
    ladder = ladder_of({0: 6.0, 1: 5.0, 2: 4.9, 3: 4.2, 4: 4.15})
    assert [(rung.dims, rung.top) for rung in ladder.rungs] == [(1, 1), (2, 3), (1, 4)]
    assert [rung.nats for rung in ladder.rungs] == pytest.approx([1.0, 0.4, 0.05])
    error = 0.02 / np.sqrt(399)  # of J_1 - J_0, whose rows do not vary; of J_3 - J_1 it is 0
    assert [rung.se for rung in ladder.rungs] == pytest.approx([error, 0, 0], abs=1e-12)
    assert ladder.structure_dim == 3 and ladder.lam == pytest.approx(np.sqrt(0.03))
    assert [rung.top for rung in ladder.kept] == [1, 3]
    assert ladder.fall == pytest.approx(0.4 / 0.05) and ladder.is_clear


def test_the_text_leads_with_the_rungs_marks_k_and_says_why():
    lines = repr(ladder_of({0: 6.0, 1: 5.0, 3: 4.2, 4: 4.15})).splitlines()
    assert re.search(r"1 x 1.000 ± \S+, 2 x 0.400 ± \S+ \| k = 3 \| 1 x 0.050 ± \S+; noise stays below 0.030", lines[0])
    assert lines[1].startswith(
        "why: a dimension is worth 0.400 nats up to k = 3, 0.050 or less beyond it, 8.0 times less"
    )
    assert "lambda = 0.173" in lines[1]
    assert lines[2] == "PCA: the 3 largest principal directions hold 93.3% of the variance."


def test_a_ladder_that_falls_smoothly_has_no_clear_rung():
    worths = np.exp(-np.arange(12) / 5)
    ladder = ladder_of(dict(enumerate(9 - np.concatenate([[0], np.cumsum(worths)]))), np.ones(12))
    assert 0 < ladder.structure_dim < 12 and ladder.fall == pytest.approx(np.exp(1 / 5))
    assert not ladder.is_clear and "no clear rung" in repr(ladder) and "why:" not in repr(ladder)


def test_the_last_rung_is_judged_against_noise():
    assert ladder_of({0: 6.0, 2: 5.9}).fall == pytest.approx(0.05 / NULL)
    assert not ladder_of({0: 6.0, 2: 5.9}).is_clear
    assert ladder_of({0: 6.0, 2: 5.9, 3: 5.899}).beyond == NULL


def test_without_structure_there_is_no_rung_above_noise():
    ladder = ladder_of({0: 6.0, 1: 5.99})
    assert repr(ladder).startswith("ladder, dimensions x nats each: no rung above noise (1 x 0.010")
    assert ladder.lam is None and not ladder.is_clear and ladder.variance == 0
    assert "no rung above noise; noise" in repr(ladder_of({0: 6.0}))


def test_it_is_plain_data():
    found = json.loads(json.dumps(ladder_of({0: 6.0, 2: 5.0}).to_dict()))
    assert found["rungs"][0]["dims"] == 2 and found["rungs"][0]["nats"] == pytest.approx(0.5)
    assert found["structure_dim"] == 2 and found["is_clear"] and found["text"].startswith("ladder")


def test_pca_counts_the_variance_of_all_used_columns():
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0, 2.0])
    variances = np.linalg.eigvalsh(np.cov(x.numpy().T))
    assert principal_share(Front.from_rows(x), 2) == pytest.approx(variances[1:].sum() / variances.sum(), rel=1e-4)
    assert principal_share(Front.from_rows(x), 3) == pytest.approx(1)
    used = torch.diag(torch.tensor([2.0, 0.0, 0.0])).double()  # a net that reads the narrowest column alone
    front = Front.from_rows(x.double(), kind="relevance", metric=used, keep=1)
    assert principal_share(front, 1) == pytest.approx(variances[2] / variances.sum(), rel=1e-4)


def test_what_lies_beyond_the_rows_span_counts_too():
    front = Front(5, stored=2, kind="principal")
    front.scales, front.rest = torch.tensor([2.0, 1.0]), torch.tensor(0.5)
    assert principal_share(front, 1) == pytest.approx(4 / (4 + 1 + 3 * 0.25))


def test_a_rung_within_its_error_is_not_called_noise():
    """A language model's layer, 25 held-out rows: seven dimensions seem worth .38 nats each, with an error of .3."""
    spread = np.random.default_rng(0).normal(0, 10, 25)
    J = {0: np.full(25, 6.0), 7: 6 - 7 * 0.38 + spread - spread.mean()}
    choice = choose(J, NULL)
    ladder = Ladder.of(choice.hull, choice.structure_dim, NULL, front_of((1.0,) * 8))
    assert choice.structure_dim == 0 and ladder.is_short_of_rows
    assert "no rung for certain (7 x 0.380" in repr(ladder) and "more rows would tell" in repr(ladder)
    noise = choose({0: np.full(25, 6.0), 7: 6 - 7 * 0.02 + spread / 100}, NULL)
    assert not Ladder.of(noise.hull, 0, NULL, front_of((1.0,) * 8)).is_short_of_rows
