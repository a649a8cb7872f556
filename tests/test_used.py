"""Fits that start from what a net uses, from principal directions, or without a nuisance; and what reads them."""

import json

import numpy as np
import pytest
import torch
from test_cli import unknot
from test_fitting import TINY
from torch import nn

import training
from analysis import Analyzer, SavedRun
from training.data.activations import Activations
from training.data.preparing import holding_up, prepare
from training.settings import ModelSettings, PathSettings

FLAGS = [f"--path.{n}={v}" for n, v in TINY.items() if n not in ("components", "hidden")]
FLAGS += ["--model.components=4", "--model.hidden=8", "--null-worth=0.03", "--threads=1"]


@pytest.fixture(scope="module")
def used():
    """400 rows of six columns, two of which a head reads; three classes show in those two, sources are pairs of rows."""
    g = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (400,), generator=g)
    centres = 4 * torch.tensor([[0.0, 1.0], [0.9, -0.5], [-0.9, -0.5]])
    x = torch.randn(400, 6, generator=g)
    x[:, :2] += centres[classes]
    return x, classes, lambda rows: rows[:, :2] @ centres.T.to(rows)


@pytest.fixture(scope="module")
def result(used):
    x, classes, head = used
    return training.fit(Activations(x, classes, torch.arange(400) // 2), head=head, null_worth=0.03, **TINY)


def test_a_head_chooses_the_directions(used, result):
    x, _, head = used
    front = result.flow.front
    assert (front.kind, front.kept, result.relevance.kept) == ("relevance", 2, 2)
    assert result.verdict().startswith("uses: 2 of 6 directions carry 100.0% of the answer's")
    y = result.flow.front.whiten(x)
    residual = y - x[:, :2] @ torch.linalg.lstsq(x[:, :2], y).solution
    assert residual.std() < 0.05
    record = json.loads(json.dumps(result.to_dict()))
    assert record["relevance"]["kept"] == 2 and record["front"] == {"kind": "relevance", "kept": 2, "of": 6}
    again = training.fit(x, head=head, front="whiten", null_worth=0.03, **TINY)
    assert again.flow.front.kind == "whiten" and again.relevance is None
    asked = training.fit(x, head=head, keep=3, null_worth=0.03, **TINY)
    assert asked.flow.front.kept == 3 and "(asked for 3)" in asked.verdict()


def test_measured_relevance_travels_with_activations(used, result):
    x, *_ = used
    again = training.fit(Activations(x, relevance=result.relevance), null_worth=0.03, **TINY)
    assert again.flow.front.kept == 2 and again.relevance is result.relevance
    with pytest.raises(ValueError, match="the relevance is of 6 columns, the activations have 5"):
        Activations(x[:, :5], relevance=result.relevance)


def test_an_analyzer_takes_the_result(used, result):
    x, classes, _ = used
    analyzer = Analyzer(result)
    assert analyzer.is_held_out.sum() == len(result.held_out) and len(analyzer.x) == 400
    torch.testing.assert_close(analyzer.x, x[torch.from_numpy(analyzer.rows)])
    assert (analyzer.labels == classes.numpy()[analyzer.rows]).all() and analyzer.sources.max() == 199
    assert set(analyzer.sources[analyzer.is_held_out]).isdisjoint(analyzer.sources[~analyzer.is_held_out])
    assert analyzer.question is not None
    with pytest.raises(ValueError, match="the fit was of 400 rows, got 10"):
        Analyzer(result, x[:10])


def test_a_nuisance_is_off_before_anything_else():
    g = torch.Generator().manual_seed(1)
    template, classes = torch.arange(400) % 20, torch.randint(3, (400,), generator=g)
    x = torch.randn(400, 5, generator=g) + 9 * torch.randn(20, 5, generator=g)[template]
    x[:, 0] += 6 * classes
    result = training.fit(x, nuisance=template, null_worth=0.03, **TINY)
    assert "nuisance: 20 classes took off 9" in result.notes[0]
    block = result.activations.x
    means = torch.stack([block[template == t].mean(0) for t in range(20)])
    assert means[:, 1:].std(0).max() < 0.5 < x[:, 1:].std(0).min()
    assert result.flow.transform(x, nuisance=template).std() < 2 < result.flow.transform(x).std()


def test_wide_rows_keep_the_principal_directions_that_hold_up():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=g) @ torch.randn(3, 200, generator=g) * 3 + torch.randn(600, 200, generator=g)
    prepared = prepare(Activations(x), ModelSettings(), PathSettings(), 0)
    assert prepared.flow.front.kind == "principal" and 3 <= prepared.flow.front.kept <= 10
    assert "principal directions enter the flow: 510 rows support 10" in prepared.notes[0]
    assert holding_up(prepared.flow.front, x[:90]) >= 3
    keep = prepare(Activations(x), ModelSettings(keep=4), PathSettings(), 0)
    assert keep.flow.front.kept == 4 and "as asked" in keep.notes[0]
    wide = prepare(Activations(x[:150]), ModelSettings(), PathSettings(), 0)
    assert wide.flow.front.stored == 127 and wide.flow.front.kept == 2


def test_one_enormous_coordinate_does_not_decide():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(900, 3, generator=g) @ torch.randn(3, 200, generator=g) * 3 + torch.randn(900, 200, generator=g)
    plain = prepare(Activations(x), ModelSettings(), PathSettings(), 0).flow.front
    x[:, 7] = 1000 + 300 * torch.randn(900, generator=g)
    front = prepare(Activations(x), ModelSettings(), PathSettings(), 0).flow.front
    others = [j for j in range(200) if j != 7]
    angles = torch.linalg.svdvals(plain.basis[others, :3].T @ front.basis[others, : front.kept])
    assert front.kept >= 4 and angles.min() > 0.95


def test_few_rows_take_fewer_steps():
    path = PathSettings()
    assert path.for_rows(4000) is path and PathSettings(few_rows=0).for_rows(10).settle == 400
    few = path.for_rows(1000)
    assert (few.settle, few.screen, few.debias, few.narrow, few.steps_per_point) == (160, 100, 100, 100, 8)
    assert path.for_rows(3000).debias == 188
    assert PathSettings(settle=7, steps_per_point=2).for_rows(10).settle == 7


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"front": "pca"}, "front must be one of auto, relevance, pieces, principal, whiten, got 'pca'"),
        ({"energy": "metric"}, "energy must be one of whitened, layer, got 'metric'"),
        ({"keep": -1}, "keep must not be negative"),
        ({"largest_loss": 0.0}, r"largest_loss must lie in \(0, 1\], got 0.0"),
        ({"front": "relevance"}, "needs a head or a metric G"),
    ],
)
def test_settings_that_cannot_be(used, settings, message):
    with pytest.raises(ValueError, match=message):
        training.fit(used[0], **settings)


def test_energy_of_the_layer_is_a_setting_that_is_kept(used, tmp_path):
    import flows

    result = training.fit(used[0], energy="layer", null_worth=0.03, **TINY)
    result.flow.save(tmp_path)
    assert flows.load(tmp_path).energy == "layer"


def test_the_command_line_takes_a_nuisance_and_says_what_it_took(tmp_path):
    g = np.random.default_rng(0)
    template = np.arange(400) % 8
    x = g.normal(size=(400, 5)) + 9 * g.normal(size=(8, 5))[template]
    np.savez(tmp_path / "acts.npz", x=x.astype("f4"), t=template, u=g.normal(size=(400, 2)))
    file = ["--data.file=acts.npz", "--data.key=x"]
    done = unknot("fit", *file, "--data.nuisance=t", *FLAGS, "--out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: nuisance: 8 classes took off 9" in done.stdout
    assert "nuisance: t" in (tmp_path / "run" / "config.yaml").read_text()
    kept = Analyzer.load(tmp_path / "run")
    assert kept.x.std(0).max() < 1.5 and kept.flow.nuisance.levels == [8]
    wrong = unknot("fit", *file, "--data.nuisance=z", *FLAGS, "--out=other", cwd=tmp_path)
    assert wrong.returncode == 1 and "'z'" in wrong.stderr and not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_digits_run_says_what_the_net_uses_and_does(tmp_path):
    flags = ["-c", "digits", "--data.rows=1797", *FLAGS]
    done = unknot("fit", *flags, "--out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "uses: " in done.stdout and " of 32 directions carry " in done.stdout
    assert "causal: " in done.stdout or "structure: none" in done.stdout
    assert "classes: " in done.stdout or "structure: none" in done.stdout
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 5 <= record["relevance"]["kept"] <= 12
    kept = SavedRun.load(tmp_path / "run").relevance
    assert kept.kept == record["relevance"]["kept"] and kept.metric.shape == (32, 32)
    again = training.fit(Activations(torch.randn(400, 32), relevance=kept), null_worth=0.03, **TINY)
    assert again.flow.front.kept == kept.kept


def test_layers_before_and_after_an_activation_function():
    net = training.trained_subject("digits", rows=1797)
    before = training.relevance(net.question("summary.0").head, net.activations("summary.0"))
    after = training.relevance(nn.Sequential(net.model.classes), net.activations())
    assert before.kept <= 12 and after.kept <= 12
    assert after.principal_kept is None or after.kept <= after.principal_kept
