"""training.fit and the staged run: verdicts on easy data, schedule, determinism, resumption, bad input."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from lightning import Callback

import training
from analysis import Analyzer, SavedRun
from training.data.activations import Activations
from training.data.batches import StepBatches
from training.data.preparing import prepare
from training.fitting import run
from training.runtime.checkpoints import Checkpoint
from training.runtime.stopping import StoppedError
from training.settings import ModelSettings, PathSettings
from training.stages.progress import Progress
from training.stages.supports import left_out

TINY = {
    "settle": 4,
    "screen": 3,
    "steps_per_point": 1,
    "points_per_decade": 2,
    "debias": 3,
    "debias_rounds": 2,
    "narrow": 4,
    "warm_up": 1,
    "rounds": 1,
    "components": 4,
    "hidden": 8,
    "batch": 64,
    "largest_lam": 10.0,
    "exit_lr": 0.1,
}
SHORT = {
    "settle": 150,
    "screen": 80,
    "steps_per_point": 5,
    "debias": 100,
    "debias_rounds": 2,
    "narrow": 40,
    "components": 16,
    "rounds": 1,
}


def tiny_rows(rows=400):
    return training.planted("circle", rows, noise_dims=1, seed=0).x


def tiny_run(callbacks=(), resume=None, seed=0):
    path = PathSettings(**{k: v for k, v in TINY.items() if k not in ("components", "hidden")})
    model = ModelSettings(components=4, hidden=8)
    prepared = prepare(Activations(tiny_rows()), model, path, seed)
    return run(prepared, model, path, seed, 0.03, callbacks, resume)


@pytest.fixture(scope="module")
def circle():
    return training.fit(training.planted("circle", 3000, seed=1).x, null_worth=0.03, **SHORT)


def test_a_circle_needs_two_dimensions(circle):
    assert circle.structure_dim == 2
    assert circle.flow.structure_dim == 2
    assert circle.worth.shape == (2,)
    assert circle.worth.min() > circle.null_worth
    assert "structure: 2 of 5 dimensions" in circle.verdict()
    assert (
        circle.verdict().startswith("ladder, dimensions x nats each: 2 x 0.")
        and "\nPCA: the 2 largest" in circle.verdict()
    )


def test_a_result_prints_its_verdict_and_saves_a_run(circle, tmp_path):
    assert str(circle) == circle.verdict() and len(repr(circle)) < 100
    folder = circle.save(tmp_path / "run")
    saved = SavedRun.load(folder)
    assert saved.result["structure_dim"] == 2 and "kappa: 1.0" in saved.config and not (folder / "config.yaml").exists()
    kept, own = Analyzer.load(folder), Analyzer(circle)
    assert np.allclose(kept.s, own.s) and kept.is_held_out.sum() == len(circle.held_out)
    assert circle.verdict() in (folder / "verdict.txt").read_text() and not (folder / "training.png").exists()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        circle.save(folder)


def test_noise_is_noise():
    result = training.fit(training.planted("gaussian", 3000).x, null_worth=0.03, **SHORT)
    assert result.structure_dim == 0
    assert result.flow.encode(torch.zeros(2, 5)).shape == (2, 0)
    assert "Nothing but noise" in result.verdict()


def test_the_reported_likelihood_is_the_flows(circle):
    x = training.planted("circle", 3000, seed=1).x[torch.from_numpy(circle.held_out)]
    assert -float(circle.flow.log_prob(x).mean()) == pytest.approx(circle.nll, abs=1e-4)


def test_worth_never_exceeds_price(circle):
    assert (circle.worth <= circle.prices[circle.flow.structure.numpy()]).all()


def test_the_path_is_a_table(circle):
    assert circle.path.dtype.names == ("step", "stage", "lam", "k", "nll", "gates")
    ramp = circle.path[circle.path["stage"] == "ramp"]
    assert ramp["k"][-1] == 0
    assert (np.diff(ramp["k"]) <= 0).all()
    assert ramp["lam"][1] / ramp["lam"][0] == pytest.approx(10 ** (1 / 24))
    assert ((circle.path["gates"] > 0).sum(1) == circle.path["k"]).all()


def test_the_result_is_plain_data(circle):
    record = json.loads(json.dumps(circle.to_dict()))
    assert record["structure_dim"] == 2
    assert record["hull"][0]["high"] is None
    assert record["ladder"]["rungs"][0]["nats"] == pytest.approx(record["worth"][0])
    assert record["ladder"]["text"] == repr(circle.ladder)
    assert set(circle.snapshots) == {int(k) for k in record["J"]}
    assert "structure_dim=2" in repr(circle)


def test_same_seed_same_bits(untouched_rng):
    with untouched_rng():
        first, again = tiny_run(), tiny_run()
    assert torch.equal(first.flow.transform(tiny_rows()), again.flow.transform(tiny_rows()))
    assert np.array_equal(first.path, again.path)
    assert not torch.equal(first.flow.field.W1, tiny_run(seed=1).flow.field.W1)


def test_supports_left_out_next_to_the_chosen_one_are_debiased_too():
    x = training.planted("torus", 400, noise_dims=3, seed=0).x
    few = training.fit(x, null_worth=1e-4, **{**TINY, "points_per_decade": 8}, most_supports=2)
    met = sorted({0, *few.path["k"][few.path["stage"] == "ramp"].tolist()})
    assert len(met) > 3 and any("supports met, 2 debiased" in note for note in few.notes)
    assert set(met) < set(few.J), "two were left out, on either side of the one that the reopening test added"


def next_of(chosen, debiased, met):
    progress = Progress(chosen=chosen, debiased={k: {} for k in debiased}, snapshots={k: {} for k in met})
    return left_out(progress, PathSettings().most_supports)


def test_the_run_of_supports_left_out_next_to_the_chosen_one_is_halved():
    met = range(33)
    assert next_of(9, [0, 1, 6, 9, 29], met) == 19
    assert next_of(9, [0, 1, 6, 9, 19], met) == 14
    assert next_of(9, [0, 1, 6, 9, 10], met) == 8
    assert next_of(9, [0, 1, 8, 9, 10], met) is None, "neighbours are known"
    assert next_of(9, [0, 6, 9, 29], [0, 6, 9, 29]) is None, "all were debiased"
    assert next_of(32, [0, 1, 6, 9, 32], met) == 21, "the largest has neighbours on one side"
    assert next_of(0, [0, 9], met) is None, "nothing but noise"
    assert next_of(9, [*range(0, 20, 3), 32, 31, 30, 29, 28], met) is None, "four more at most"


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            raise StoppedError("stopped")


def test_stopped_after_any_step_and_resumed_it_is_the_same_run(tmp_path):
    whole = tiny_run()
    assert {"settle", "screen", "ramp"} <= set(whole.path["stage"])
    assert whole.path["k"][-1] == 0 and len(whole.J) > 1, "dimensions leave in this run"
    for step in range(1, whole.steps + 1):
        file = tmp_path / f"{step}.ckpt"
        with pytest.raises(StoppedError):
            tiny_run([Checkpoint(file, every=1), StopAt(step)])
        resumed = tiny_run(resume=file)
        assert resumed.steps == whole.steps
        assert np.array_equal(resumed.path, whole.path), step
        for name, tensor in whole.flow.state_dict().items():
            assert torch.equal(resumed.flow.state_dict()[name], tensor), (step, name)
        assert resumed.J == whole.J
        assert np.array_equal(resumed.prices, whole.prices, equal_nan=True)
        assert resumed.notes == whole.notes
        assert torch.equal(resumed.flow.order, whole.flow.order)


def test_batches_are_a_function_of_the_step():
    rows = torch.arange(10.0)[:, None]
    stream = iter(StepBatches(rows, 4, seed=3))
    first = [next(stream) for _ in range(7)]
    later = iter(StepBatches(rows, 4, seed=3, start=5))
    assert torch.equal(next(later), first[5])
    assert torch.equal(next(later), first[6])
    halves = [iter(StepBatches(rows, 4, seed=3, start=5, rank=r, world=2)) for r in (0, 1)]
    assert torch.equal(torch.stack([next(h) for h in halves], dim=1).reshape(-1, 1), first[5])


def test_rows_of_one_source_stay_on_one_side():
    groups = torch.arange(400) // 4
    result = training.fit(tiny_rows(), groups=groups, null_worth=0.03, **TINY)
    assert not set(groups[result.train].tolist()) & set(groups[result.held_out].tolist())


def test_columns_full_of_ties_are_jittered_and_said():
    x = tiny_rows()
    x[:, 0] = x[:, 0].clamp_min(0)
    result = training.fit(x, null_worth=0.03, **TINY)
    assert any("columns 0 hold more than 1 % exact ties" in note for note in result.notes)


def test_constant_columns_come_back():
    x = torch.cat([tiny_rows(), torch.full((400, 1), 7.0)], dim=1)
    with pytest.warns(UserWarning, match=r"constant columns \[3\]"):
        result = training.fit(x, null_worth=0.03, **TINY)
    assert torch.allclose(result.flow.inverse(result.flow.transform(x)), x, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kapa": 2.0}, "unknown setting 'kapa'; did you mean 'kappa'"),
        ({"settle": 0}, "settle must be positive"),
        ({"kappa": -1.0}, "kappa must not be negative"),
        ({"held_out": 1.5}, "held_out must lie in"),
        ({"law": "soft"}, "gate law must be one of bernoulli, channel"),
        ({"settle": 2.5}, "settle must be a whole number"),
        ({"kappa": "1"}, "kappa must be a number"),
        ({"noise_floor": 0.0}, "noise_floor must lie in"),
        ({"exit_width": 0.01}, "exit_width must lie in"),
        ({"seed": -1}, "seed must lie in"),
        ({"null_worth": 0.0}, "null_worth must be a positive number"),
        ({"most_supports": 1}, "most_supports must be at least 2"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        training.fit(tiny_rows(), **{"null_worth": 0.03, **settings})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((20, 3), torch.nan), "NaN"),
        (torch.randn(3, 5), "too few rows"),
        (torch.zeros(20), "2 axes"),
    ],
)
def test_bad_rows(x, message):
    with pytest.raises(ValueError, match=message):
        training.fit(x, null_worth=0.03)


def test_a_loss_that_is_not_finite_says_what_to_do():
    with pytest.raises(FloatingPointError, match="loss is not finite at step .* lower path.lr"):
        training.fit(tiny_rows(), null_worth=0.03, **{**TINY, "lr": 1e30, "settle": 50})


def test_settings_are_recorded_as_plain_data():
    assert json.dumps(dataclasses.asdict(PathSettings()))


def test_an_augmented_run_reports_nats_per_row_of_the_data():
    x = tiny_rows()
    result = training.fit(x, null_worth=0.03, augment=2, **TINY)
    assert (result.flow.front.dims, result.flow.front.augment) == (x.shape[1] + 2, 2)
    held_out = x[result.held_out]
    nats = -result.flow.log_prob(held_out, draws=1).mean()
    assert result.nll == pytest.approx(float(nats), abs=0.1)  # other draws of the augmented dimensions
    assert result.flow.project(held_out).shape == held_out.shape
