"""Rows in order of time: the autocorrelation time, blocks as sources, no twins of training rows among the held-out ones."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

import training
from flows.io import rows
from training.data.activations import Activations
from training.data.oddities import DOUBTFUL
from training.data.preparing import prepare
from training.data.series import Series, autocorrelation_time
from training.data.source import read_data
from training.runtime.options import DataSettings, fit_options
from training.runtime.run_folder import RunFolder
from training.settings import ModelSettings, PathSettings

TINY = {
    "settle": 4, "screen": 3, "steps_per_point": 1, "points_per_decade": 2, "debias": 3, "debias_rounds": 2, "narrow": 4,
    "warm_up": 1, "rounds": 1, "components": 4, "hidden": 8, "batch": 64, "largest_lam": 10.0, "exit_lr": 0.1, "null_worth": 0.03,
}  # fmt: skip
COUNT, TIME = 4000, 15


def forgetting(count, columns, time, seed):
    """An AR(1) process of variance 1 whose autocorrelation is exp(-lag / time)."""
    keep, steps = np.exp(-1 / time), np.random.default_rng(seed).normal(size=(count, columns))
    steps[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1], [1, -keep], steps, axis=0)


def recording(count=COUNT, time=TIME, seed=0):
    """A phase that wanders around a ring, and three noise columns that are as slow."""
    phase = np.cumsum(np.random.default_rng(seed).normal(size=count)) * np.sqrt(2 / time)
    radius = 1 + 0.1 * forgetting(count, 1, time, seed + 1)
    ring = radius * np.column_stack([np.cos(phase), np.sin(phase)])
    return torch.tensor(np.column_stack([ring, 0.5 * forgetting(count, 3, time, seed + 2)]))


def prepared(x, **known):
    return prepare(Activations(x, **known), ModelSettings(components=4, hidden=8), PathSettings(), 0)


def twins(ready):
    """Share of the held-out rows whose nearest training row is one of nearly the same time."""
    x, held_out = ready.activations.x, ready.held_out
    nearest = ready.train[torch.cdist(x[held_out], x[ready.train]).argmin(1)]
    return float(((nearest - held_out).abs() <= TIME).double().mean())


def said(ready):
    return " ".join(oddity.sentence for oddity in ready.oddities)


@pytest.mark.parametrize("time", [5, 20, 60])
def test_the_autocorrelation_time_is_that_of_the_process(time):
    found = [autocorrelation_time(torch.tensor(forgetting(20_000, 4, time, seed))) for seed in range(3)]
    assert all(0.8 * time < each < 1.8 * time for each in found)  # of four directions the slowest in the sample


def test_independent_rows_have_the_time_of_a_row():
    draw = torch.Generator().manual_seed(0)
    assert autocorrelation_time(torch.randn(1000, 5, generator=draw)) == 1
    assert autocorrelation_time(torch.randn(1000, 300, generator=draw)) == 1


def test_a_slow_signal_that_is_a_small_part_of_every_column_is_found():
    slow = torch.tensor(forgetting(20_000, 1, 50, 0))
    x = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0)).double()
    x = torch.cat([x, slow], 1) @ torch.randn(7, 7, generator=torch.Generator().manual_seed(1)).double()
    assert 30 < autocorrelation_time(x) < 90


def test_a_constant_column_and_a_long_recording_change_nothing(monkeypatch):
    x = recording(20_000)
    time = autocorrelation_time(x)
    assert autocorrelation_time(torch.cat([x, torch.ones(len(x), 1)], 1)) == time
    assert autocorrelation_time(torch.ones(100, 3)) == 1
    monkeypatch.setattr("training.data.series.CHUNK", 5 * 10_000)
    assert abs(autocorrelation_time(x) - time) < 0.4 * time


def test_held_out_rows_are_no_twins_of_training_rows():
    x = recording()
    by_row, by_time = prepared(x), prepared(x, order="time")
    assert twins(by_row) > 0.3 and twins(by_time) == 0
    assert "say order='time' (--data.order time)" in said(by_row) and "order='time'" not in said(by_time)
    assert 0.1 < len(by_time.held_out) / COUNT < 0.2 and len(by_time.train) > 0.75 * COUNT


def test_the_sentence_says_how_long_a_block_is():
    ready, series = prepared(recording(), order="time"), Series.of(recording())
    assert series.block == 10 * series.time and series.oddity.most == 1.0
    assert (
        f"rows are in order of time and alike over {series.time} of them: {-(-COUNT // series.block)} blocks of {series.block} "
        f"rows are the sources, and training rows within {series.time} rows of held-out ones are left out"
    ) in said(ready)
    assert ready.activations.sources.equal(torch.arange(COUNT) // series.block) and ready.activations.order is None


def test_no_training_row_is_near_a_held_out_one():
    series = Series(3, 30, 100)
    train, held_out = torch.tensor([0, 1, 2, 3, 8, 9, 20, 21, 22]), torch.tensor([5, 6, 18])
    assert series.apart(train, held_out).tolist() == [0, 1, 22]
    assert Series(1, 10, 100).apart(train, held_out).equal(train)
    assert Series(90, 5, 100).apart(train, held_out).equal(train)


def test_a_short_recording_makes_any_verdict_doubtful():
    ready = prepared(recording(1000, 40), order="time")
    assert "rows are in order of time" in said(ready) and "too few for blocks of 10: record longer" in said(ready)
    assert Series(40, 50, 1000).oddity.most == DOUBTFUL and Series(5, 50, 1000).oddity.most == 1.0
    assert min(oddity.limit(0) for oddity in ready.oddities) == DOUBTFUL
    assert "and so worth" in said(ready) and "independent ones, for 5 dimensions, fewer than 20 for each" in said(ready)
    assert "independent ones" not in said(prepared(recording(8000), order="time"))


def test_a_drift_over_the_whole_recording_is_split_all_the_same():
    ready = prepared(recording() + 30 * torch.linspace(0, 1, COUNT).double()[:, None], order="time")
    assert len(ready.train) and len(ready.held_out) and "too few for blocks of 10" in said(ready)


def test_order_goes_with_no_sources_and_has_one_name():
    x = recording(400)
    with pytest.raises(ValueError, match="these rows have sources"):
        Activations(x, sources=torch.arange(400), order="time")
    with pytest.raises(ValueError, match="unknown order 'tine'.*time"):
        training.fit(x, order="tine")
    with pytest.raises(ValueError, match="data.order is of rows in a file"):
        read_data(DataSettings(planted="ring", order="time"), 0)


def test_fit_estimator_and_command_line_take_it(tmp_path):
    x = recording(1200, 4)
    result = training.fit(x, order="time", **TINY)
    assert "caution: rows are in order of time" in result.verdict()
    estimator = training.FunnelEstimator(order="time", **TINY).fit(x.numpy())
    assert estimator.result_.held_out.tolist() == result.held_out.tolist()
    assert training.FunnelEstimator(**TINY).fit(x.numpy()).result_.held_out.tolist() != result.held_out.tolist()
    np.save(tmp_path / "x.npy", x.numpy())
    options = fit_options(["--data.file", str(tmp_path / "x.npy"), "--data.order", "time"])
    ready = prepare(read_data(options.data, 0), options.model, options.path, 0)
    assert sorted(ready.held_out.tolist()) == sorted(result.held_out.tolist())
    assert "order: time" in options.text  # so that a resumed run has the same blocks


def test_blocks_are_saved_with_the_run(tmp_path):
    from analysis.run import SavedRun

    result = training.fit(recording(1200, 4), order="time", **TINY)
    folder = RunFolder.create(str(tmp_path / "run"), "run")
    folder.write(result, [], 0)
    run = SavedRun.load(folder.path)
    assert run.sources.tolist() == result.activations.sources[run.rows].tolist()


def test_rows_on_disk_have_blocks_too(tmp_path, monkeypatch):
    x = recording().float()
    np.save(tmp_path / "x.npy", x.numpy())
    whole = prepared(x, order="time")
    monkeypatch.setattr("flows.io.files.IN_MEMORY", 0)
    stored = prepare(
        training.read_activations(tmp_path / "x.npy", order="time"),
        ModelSettings(components=4, hidden=8),
        PathSettings(),
        0,
    )
    assert isinstance(stored.activations.x, rows.Rows)
    assert stored.train.equal(whole.train) and stored.held_out.equal(whole.held_out)
