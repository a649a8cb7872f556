"""The certificate: its bound against known divergences, its size under the null, and every verdict it can give."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from analysis.certification import bounds, certificate, critics, detection, examination
from analysis.certification.certificate import Certificate, certify
from training.data.planting import planted

NATS = 0.2


def product(
    rows: int = 2000, noise_dims: int = 2, seed: int = 0, name: str = "circle"
) -> tuple[np.ndarray, np.ndarray]:
    made = planted(name, rows=rows, noise_dims=noise_dims, seed=seed, diffeo=False)
    x = made.x.double().numpy()
    return x[:, : made.structure_dim], x[:, made.structure_dim :]


def coupled(nats: float = NATS, rows: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian s and n_1 of correlation rho: the divergence is exactly ``nats``."""
    generator = np.random.default_rng(0)
    s, n = generator.normal(size=(rows, 2)), generator.normal(size=(rows, 3))
    rho = math.sqrt(1 - math.exp(-2 * nats))
    n[:, 0] = rho * s[:, 0] + math.sqrt(1 - rho**2) * n[:, 0]
    return s, n


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the slow critic out."""

    def cheap(block, n, train, choose, fresh, rng):
        yield "logistic", critics.logistic(block, n, train, rng)
        yield from critics.moments(block, n, train)

    monkeypatch.setattr(examination, "critics", cheap)


@pytest.fixture(scope="module")
def certified() -> Certificate:
    return certify(*product(2000), draws=1)


def test_a_product_is_certified(certified: Certificate) -> None:
    assert certified.verdict == "certified at delta" and certified.certified
    assert 0.003 <= certified.delta <= 0.1 and certified.delta in detection.GRID
    assert certified.lower_bound < 3 * certified.se + 1e-9 and certified.p_value > 0.05
    assert certified.split == (1000, 400, 600) and certified.rows == 2000
    assert (certified.structure_dim, certified.noise_dims) == (2, 2)
    assert [name for name, _ in certified.scores] == ["logistic", "moments", "moments, shrunk", "network"]
    assert (
        f"of these kinds above {certified.delta:g} nats was there to be found: features, quadratic, linear"
        in certified.meaning
    )


def test_the_limit_is_the_smallest_size_detected_for_every_kind(certified: Certificate) -> None:
    sizes: dict[float, list[bool]] = {}
    for control in certified.controls:
        sizes.setdefault(control.nats, []).append(control.detected)
    assert min(nats for nats, seen in sizes.items() if all(seen)) == certified.delta
    assert len(sizes[certified.delta]) == len(detection.KINDS)
    below = detection.GRID[detection.GRID.index(certified.delta) - 1]
    assert not all(sizes[below])


def test_a_coupling_is_rejected_with_a_bound_below_the_truth() -> None:
    found = certify(*coupled(), draws=0)
    assert found.verdict == "not certified" and not found.certified
    assert 0.7 * NATS < found.lower_bound < NATS + 3 * found.se
    assert found.p_value < 1e-6 and 0 < found.se < 0.05
    assert "the product is rejected (p = " in found.meaning and "not certified" in repr(found)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("nats", [0.04, 0.1])
@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_what_is_there_is_certified_at_a_size_no_smaller_and_not_far_above(kind: str, nats: float) -> None:
    for seed in range(3):
        generator = np.random.default_rng(seed)
        s = generator.normal(size=(4000, 2))
        found = certify(s, detection.control_noise(s, 3, kind, nats, generator), seed=seed, draws=2)
        assert found.verdict == "not certified" and nats <= found.degree <= 5 * nats
        assert found.degree >= max(found.delta, found.lower_bound + 1.645 * found.se) and found.degree in detection.GRID
        assert f"Certificate: not certified as a product, certified at {found.degree:g} nats" in repr(found)
        assert f"{found.degree:g} nats of the controls' kinds would have shown more strongly" in found.meaning


def test_where_nothing_is_found_the_degree_is_the_limit(certified: Certificate) -> None:
    assert certified.degree == certified.delta and certified.to_dict()["degree"] == certified.delta
    assert math.isnan(certify(*coupled(), draws=0).degree) and math.isnan(certified.share)


def test_the_dependence_found_has_an_interval_and_a_share_of_the_worth() -> None:
    about = {"reason": "", "rows": 9, "structure_dim": 1, "noise_dims": 2, "seed": 0}
    found = Certificate("not certified", level=0.05, lower_bound=0.02, se=0.005, z=5, degree=0.055, worth=0.4, **about)
    assert found.interval == pytest.approx((0.02 - 1.96 * 0.005, 0.02 + 1.96 * 0.005), abs=1e-5)
    assert found.share == pytest.approx(0.05)
    assert "0.0102 to 0.0298 nats at confidence 0.95, 5.0% of the 0.4 nats of structure" in repr(found)
    assert found.to_dict()["interval"] == list(found.interval) and found.to_dict()["share"] == found.share
    nothing = dataclasses.replace(found, lower_bound=-0.01)
    assert nothing.interval[0] == 0 and nothing.share == 0
    assert "at 0.055" not in repr(dataclasses.replace(found, degree=math.inf))


def test_the_bound_of_the_exact_critic_is_the_divergence() -> None:
    s, n = coupled(rows=40_000)
    rho = math.sqrt(1 - math.exp(-2 * NATS))

    def ratio(n: np.ndarray) -> np.ndarray:
        return NATS + (rho * s[:, 0] * n - rho**2 * (s[:, 0] ** 2 + n**2) / 2) / (1 - rho**2)

    p, q = ratio(n[:, 0]), ratio(np.random.default_rng(1).normal(size=(4, len(n))))
    assert bounds.fit_scale(p, q)[0] == pytest.approx(NATS, abs=0.01)
    # and no constant added to it makes the bound larger
    assert bounds.nwj(p + 1, q + 1).mean() == pytest.approx(NATS + 2 - math.e, abs=0.05)
    # an overconfident critic is scaled down; one that knows nothing is worth nothing
    assert bounds.fit_scale(2 * p, 2 * q)[:2] == pytest.approx((NATS, 0.5), abs=0.15)
    assert bounds.fit_scale(np.random.default_rng(2).permutation(q[0]), q)[0] < 0.002


@pytest.mark.usefixtures("no_network")
def test_few_true_products_are_rejected() -> None:
    p = [certify(*product(1000, 1 + seed % 4, seed), seed=seed, draws=0).p_value for seed in range(120)]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / len(p))
    assert kstest(p, "uniform").pvalue > 1e-3


def test_critics_are_evaluated_on_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A critic that knows its training and choosing rows by heart finds nothing."""

    def by_heart(block, n, train, choose, fresh, rng):
        known = np.zeros(len(n))
        known[np.r_[train, choose]] = 1
        yield "heart", lambda rows, noise: known[rows] * (np.abs(noise - n[rows]).max(1) < 1e-9)

    monkeypatch.setattr(examination, "critics", by_heart)
    assert certify(*product(), draws=0).p_value == 0.5


def test_a_critic_that_tells_every_row_apart_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """No spread at all: neither the statistic nor the bound, cut off at the log of the rows, may break."""
    s, n = product()

    def sure(block, rows, train, choose, fresh, rng):
        yield "sure", lambda rows, noise: np.where(np.abs(noise - n[rows]).max(1) < 1e-9, 99.0, -99.0)

    monkeypatch.setattr(examination, "critics", sure)
    found = certify(s, n, draws=0)
    assert found.verdict == "not certified" and found.p_value == 0 and math.isfinite(found.z)
    assert math.log(600) <= found.lower_bound <= math.log(600) + 1


def test_each_critic_finds_its_kind() -> None:
    generator = np.random.default_rng(0)
    s, n = generator.normal(size=(2000, 1)), generator.normal(size=(2000, 2))
    linear = np.c_[(n[:, 0] + 0.7 * s[:, 0]) / math.sqrt(1.49), n[:, 1]]
    triple = np.c_[n[:, 0], 0.6 * np.sign(s[:, 0]) * n[:, 0] + 0.8 * n[:, 1]]
    skewed = np.sign(s) * (np.where(generator.random((2000, 1)) < 0.2, 1.6, -0.4) + 0.6 * n[:, :1])
    one, two, three = (dict(certify(s, noise, draws=0).scores) for noise in (linear, triple, skewed))
    assert min(one.values()) > 0.05 and one["logistic"] > 0.1
    assert two["logistic"] < 0.02 and two["moments"] > 0.1 < two["moments, shrunk"]
    assert three["network"] > 0.1 > 2 * three["logistic"]


@pytest.mark.parametrize("kind", detection.KINDS)
def test_controls_carry_what_they_say(kind: str) -> None:
    """Regression of n_1 on its rank-Gaussianised h explains 1 - e^(-2 nats) of it; the marginals stay normal."""
    s = product(8000)[0]
    n = detection.control_noise(s, 2, kind, NATS, np.random.default_rng(0))
    n_0 = detection.control_noise(s, 2, kind, 1e-12, np.random.default_rng(0))
    rho = math.sqrt(1 - math.exp(-2 * NATS))
    h = (n[:, 0] - math.sqrt(1 - rho**2) * n_0[:, 0]) / rho
    assert np.corrcoef(h, n[:, 0])[0, 1] ** 2 == pytest.approx(rho**2, abs=0.03)
    assert np.abs(np.corrcoef(h, n_0[:, 0])[0, 1]) < 0.04
    assert kstest(h, "norm").pvalue > 0.5 and kstest(n[:, 0], "norm").pvalue > 1e-3


@pytest.mark.usefixtures("no_network")
def test_a_limit_above_a_tenth_of_a_nat_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for delta, words in ((0.15, "must have 0.15 nats"), (math.inf, "more than 1 nats")):
        monkeypatch.setattr(certificate, "detection_limit", lambda *_, delta=delta: (delta, ()))
        found = certify(*product())
        assert found.verdict == "not decided" and words in found.reason and found.delta == delta
        assert words in repr(found)
    assert "above 1 nats" in repr(found) and found.to_dict()["delta"] is None
    assert certify(*product(), draws=0).verdict == "not decided"


@pytest.mark.usefixtures("no_network")
def test_what_cannot_be_found_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "control_noise", lambda s, m, kind, nats, rng: rng.normal(size=(len(s), m)))
    found = certify(*product(1000), draws=2)
    assert found.delta == math.inf and not any(control.detected for control in found.controls)


def test_without_structure_the_noise_itself_is_tested() -> None:
    generator = np.random.default_rng(0)
    nothing, n = np.zeros((2000, 0)), generator.normal(size=(2000, 2))
    found = certify(nothing, n, draws=0)
    assert found.p_value > 0.05 and found.structure_dim == 0 and found.verdict == "not decided"
    n[:, 0] = 0.5 * n[:, 1] + math.sqrt(0.75) * n[:, 0]
    assert certify(nothing, n, draws=0).verdict == "not certified"
    assert certify(nothing, 1.2 * generator.normal(size=(2000, 1)), draws=0).verdict == "not certified"
    linear = detection.control_noise(nothing, 5, "linear", NATS, generator)
    explained = 1 - 1 / (np.linalg.inv(np.corrcoef(linear.T))[0, 0])
    assert explained == pytest.approx(1 - math.exp(-2 * NATS), abs=0.05)


@pytest.mark.usefixtures("no_network")
def test_without_structure_and_with_one_dimension_the_mean_is_the_control() -> None:
    found = certify(np.ones((2000, 2)), np.random.default_rng(1).normal(size=(2000, 1)), draws=2)
    assert {control.kind for control in found.controls} == {"shift"} and found.certified


@pytest.mark.usefixtures("no_network")
def test_constant_noise_is_no_noise() -> None:
    s, n = product()
    found = certify(s, np.zeros_like(n), draws=0)
    assert found.verdict == "not certified" and found.lower_bound < math.log(600) + 1


def test_nothing_to_certify_and_too_few_rows() -> None:
    s, n = product(999)
    nothing = certify(s, n[:, :0])
    assert nothing.verdict == "nothing to certify" and "no noise dimensions" in nothing.meaning
    few = certify(s, n)
    assert few.verdict == "not decided" and "999 rows are too few" in few.reason
    for found in (nothing, few):
        assert found.controls == () and found.to_dict()["lower_bound"] is None
        assert (
            repr(found).startswith("Certificate: " + found.verdict)
            and found.verdict in found.plot().texts[0].get_text()
        )
    assert certify(s[:0], n[:0]).verdict == "not decided"


@pytest.mark.usefixtures("no_network")
def test_more_rows_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "MOST_ROWS", 1200)
    assert certify(*product(2000), draws=0).rows == 1200


def test_equal_seeds_give_equal_answers(untouched_rng) -> None:
    s, n = product(1000)
    with untouched_rng():
        first = certify(s, n, seed=3, draws=0)
    with torch.inference_mode():
        again = certify(torch.tensor(s), torch.tensor(n), seed=3, draws=0)
    assert first.scores == again.scores and first.p_value == again.p_value
    assert first.scores != certify(s, n, seed=4, draws=0).scores


@pytest.mark.usefixtures("no_network")
def test_equal_seeds_give_equal_controls() -> None:
    s, n = product(1000)
    assert certify(s, n, seed=3, draws=2) == certify(s, n, seed=3, draws=2)
    assert certify(s, n, seed=3, draws=2).controls != certify(s, n, seed=4, draws=2).controls


def test_results_are_plain_data_and_pictures(certified: Certificate) -> None:
    record = json.loads(json.dumps(certified.to_dict(), allow_nan=False))
    assert record["delta"] == certified.delta and record["scores"]["network"] == dict(certified.scores)["network"]
    assert record["controls"][0]["kind"] == "features" and record["meaning"] == certified.meaning
    assert f"certified at delta = {certified.delta:g} nats" in repr(certified)
    ax = certified.plot()
    assert "nats" in ax.get_xlabel() and "nats" in ax.get_ylabel()
    legend = ax.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["features", "quadratic", "linear", "planted", "the data", "detection limit"]
    assert any("n = 2000, seed 0" in text.get_text() for text in ax.texts)
    assert certified.plot(ax) is ax
    ax.figure.canvas.draw()


def test_wide_blocks_keep_to_few_products() -> None:
    factors = critics.hermite_factors
    assert factors(2, 3).shape == (3, 9) and factors(12, 3).shape == (3, 454) and factors(30, 3).shape == (3, 495)
    assert factors(50, 2).shape == (3, 100)
    products = critics.hermite(np.random.default_rng(0).normal(size=(200_000, 2)), factors(2, 3))
    assert np.abs(products.T @ products / 200_000 - np.eye(9)).max() < 0.05 > np.abs(products.mean(0)).max()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"s": np.zeros((5, 1))}, "same rows, got 5 and 2000"),
        ({"s": np.full((2000, 1), np.nan)}, "s contain NaN or inf in 2000 of 2000"),
        ({"n": np.zeros(2000)}, "n must have 2 axes"),
        ({"level": 0.0}, "between 0 and 1, got 0.0"),
        ({"draws": -1}, "draws must be 0 or more, got -1"),
    ],
)
def test_unusable_input_is_refused(change: dict, words: str) -> None:
    s, n = product()
    with pytest.raises(ValueError, match=words):
        certify(**{"s": s, "n": n, **change})
