"""Rows that mislead a fit: far out, repeated, below the floor, of few values, normalised; what is done and said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import training
from flows.front import Front
from flows.geometry.outlying import outlying
from flows.io import files, rows
from training.data.activations import Activations
from training.data.oddities import (
    DOUBTFUL,
    Oddity,
    below_the_floor,
    claimed,
    in_a_series,
    of_few_values,
    of_one_norm,
    too_few,
)
from training.data.preparing import prepare
from training.data.twins import row_keys, twins_joined
from training.settings import ModelSettings, PathSettings

TINY = {
    "settle": 4, "screen": 3, "steps_per_point": 1, "points_per_decade": 2, "debias": 3, "debias_rounds": 2, "narrow": 4,
    "warm_up": 1, "rounds": 1, "components": 4, "hidden": 8, "batch": 64, "largest_lam": 10.0, "exit_lr": 0.1, "null_worth": 0.03,
}  # fmt: skip


def ring(count=4000):
    return training.planted("circle", count, noise_dims=3, seed=0).x


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prepared(x, sources=None, **model):
    return prepare(Activations(x, sources=sources), ModelSettings(components=4, hidden=8, **model), PathSettings(), 0)


def said(ready):
    return " ".join(oddity.sentence for oddity in ready.oddities)


# rows far out


@pytest.mark.parametrize("far", [1e3, 1e5])
@pytest.mark.parametrize("column", [slice(None), 2])
def test_one_row_far_out_is_named_and_set_aside(far, column):
    clean = ring()
    x = clean.clone()
    x[17, column] = far
    ready = prepared(x)
    assert 17 not in ready.train and 17 not in ready.held_out and len(ready.train) + len(ready.held_out) == 3999
    assert "1 of 4000 rows set aside: row 17 lies so far out as to set the scale of all others" in said(ready)
    assert (ready.flow.front.scales / prepared(clean).flow.front.scales - 1).abs().max() < 0.05


@pytest.mark.parametrize("length", [300.0, 3000.0])
def test_first_tokens_of_one_great_length_are_set_aside(length):
    x, at = ring(), torch.arange(0, 4000, 125)  # .8 % of the rows
    x[at] = torch.nn.functional.normalize(normal(5), dim=0) * length
    assert outlying(x).tolist() == at.tolist()
    assert "32 of 4000 rows set aside: rows 0, 125," in said(prepared(x)) and ", ... lie" in said(prepared(x))


def test_a_fiftieth_of_the_rows_far_out_in_one_column():
    x = ring()
    x[100:180, 1] = 200.0
    assert outlying(x).tolist() == list(range(100, 180))


@pytest.mark.parametrize("count", [100, 1000, 20_000])
@pytest.mark.parametrize("kind", ["normal", "student", "lognormal", "sparse", "pieces", "small piece"])
def test_heavy_tails_and_pieces_lose_no_rows(count, kind):
    for seed in range(5):
        draw = np.random.default_rng(seed)
        x = draw.normal(size=(count, 5))
        if kind == "student":
            x = draw.standard_t(3, size=(count, 5))
        if kind == "lognormal":
            x = np.exp(x)
        if kind == "sparse":
            x = np.where(draw.random((count, 5)) < 0.03, np.abs(x), 0) + 1e-9 * x
        if kind == "pieces":
            x[: count // 2] += 1000
        if kind == "small piece":
            x[: count // 50] += 5
        assert len(outlying(torch.tensor(x))) == 0, seed


def test_rows_far_out_are_found_in_chunks_and_in_many_columns(monkeypatch):
    x = normal(600, 20)
    x[[3, 500]] = 1e4
    assert outlying(x).tolist() == [3, 500]
    monkeypatch.setattr(rows, "CHUNK", 20 * 64)
    assert outlying(x).tolist() == [3, 500]
    monkeypatch.setattr("flows.geometry.outlying._WIDEST", 10)
    assert outlying(x).tolist() == [3, 500]


def test_the_split_of_clean_rows_is_that_of_the_activations():
    x = ring(500)
    train, held_out = Activations(x).split(PathSettings().held_out, 0)
    ready = prepared(x)
    assert ready.train.equal(train) and ready.held_out.sort().values.equal(held_out) and ready.oddities == []
    assert ready.activations.sources is None


# repeated rows


def test_identical_rows_are_on_one_side_of_the_split():
    x = normal(300, 10).repeat(10, 1)
    ready = prepared(x)
    sides = [{tuple(row) for row in x[side].tolist()} for side in (ready.train, ready.held_out)]
    assert all(sides) and not sides[0] & sides[1]
    assert "3000 of 3000 rows are identical to others (300 are distinct): identical rows share a source" in said(ready)


def test_repeated_prompts_are_one_source_and_first_tokens_join_nothing():
    tokens = normal(50, 4, 3).repeat_interleave(2, 0)  # every prompt twice, of four tokens
    tokens[:, 0] = 7.0
    sources = torch.arange(100).repeat_interleave(4)
    joined, oddity = twins_joined(Activations(tokens.flatten(0, 1), sources=sources))
    assert joined.sources.tolist() == (sources // 2 * 2).tolist()
    assert "100 of 100 sources are identical to others (50 are distinct)" in oddity.sentence
    apart = normal(100, 4, 3)
    apart[:, 0] = 7.0
    assert twins_joined(Activations(apart.flatten(0, 1), sources=sources))[1] is None


def test_fewer_twins_than_a_hundredth_change_no_split():
    x = normal(1000, 3)
    x[5:9] = x[0]
    assert twins_joined(Activations(x))[1] is None
    x[5:15] = x[0]
    assert twins_joined(Activations(x))[0].sources[5:15].unique().tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_tell_rows_apart(dtype, monkeypatch):
    x = torch.cartesian_prod(*[torch.arange(-10.0, 10.0)] * 3).to(dtype)  # numbers of few bits, 8000 rows
    assert len(row_keys(x).unique()) == 8000
    assert row_keys(-torch.zeros(1, 3).to(dtype)).equal(row_keys(torch.zeros(1, 3).to(dtype)))
    whole = row_keys(x)
    monkeypatch.setattr(rows, "CHUNK", 300)
    assert row_keys(x).equal(whole)


# below the floor


def small_ring(radius=0.01, wide=100.0):
    angle = torch.rand(1000, generator=torch.Generator().manual_seed(1)) * 2 * torch.pi
    return torch.stack([radius * angle.cos(), radius * angle.sin(), wide * normal(1000)], dim=1)


def test_what_lies_below_the_floor_was_not_examined():
    result = training.fit(small_ring(), **TINY)
    assert result.confidence <= DOUBTFUL
    assert "caution: 2 directions below the noise floor" in result.verdict()
    assert "were not examined; columns 0, 1 lie there whole: divide every column" in result.verdict()
    assert result.to_dict()["oddities"] == result.oddities


def test_the_floor_that_the_sentence_names_lets_them_in():
    x = small_ring()
    sentence = below_the_floor(x, Front.from_rows(x)).sentence
    lower = float(sentence.rpartition(" to ")[2])
    assert Front.from_rows(x, lower).kept == 3


def test_rounding_below_the_floor_is_no_structure():
    x = normal(1000, 3) @ normal(3, 5, seed=1) + 10
    front = Front.from_rows(x)
    assert front.kept == 3 and below_the_floor(x, front) is None
    mixed = x + 1e-4 * normal(1000, 5, seed=2)
    oddity = below_the_floor(mixed, Front.from_rows(mixed))
    assert oddity.sentence.startswith("2 directions") and oddity.most == 1.0


# few values, one norm


def test_counts_are_named_as_the_likely_cause():
    counts = torch.poisson(torch.full((3000, 4), 0.5), generator=torch.Generator().manual_seed(0))
    oddity = of_few_values(counts)
    assert oddity.sentence.startswith("columns 0, 1, 2, 3 hold few distinct values")
    assert (oddity.limit(4), oddity.limit(0)) == (DOUBTFUL, 1.0)
    assert of_few_values(normal(3000, 2).round()) is not None


def test_what_is_not_discrete():
    x = normal(3000, 3)
    x[:, 0] = (x[:, 0] - 1.3).relu()  # nine zeros in ten
    x[:, 1] = x[:, 1].clamp(-1, 1)  # two values, and all between
    x[:, 2] = (10 * x[:, 2]).round() / 10
    assert of_few_values(x) is None
    x[:, 0] = 1e-9 * (x[:, 0] > 0)
    assert of_few_values(x, floor=1e-3) is None


def test_normalised_rows_are_a_sphere():
    x = torch.nn.functional.normalize(normal(1000, 8), dim=1)
    oddity = of_one_norm(x)
    assert oddity.sentence.startswith("all rows have one norm, 1: they lie on a sphere") and oddity.limit(5) == DOUBTFUL
    assert of_one_norm(normal(1000, 400)) is None and of_one_norm(torch.ones(10, 1)) is None
    assert of_one_norm(torch.nn.functional.normalize(normal(1000, 2), dim=1)).most == 1.0


def test_a_limit_on_confidence():
    assert Oddity("", 0.5).limit(0) == 0.5 and Oddity("", 0.5, adds=True).limit(0) == Oddity("").limit(3) == 1.0


def test_rows_on_disk_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    x = normal(200, 4).repeat(3, 1)
    x[7] = 1e6
    np.save(tmp_path / "x.npy", x.numpy())
    ready = prepare(training.read_activations(tmp_path / "x.npy"), ModelSettings(), PathSettings(), 0)
    assert "row 7 lies so far out as to set the scale of all others" in said(ready)
    assert "599 of 600 rows are identical to others" in said(ready)


def test_what_was_taken_off_whole_numbers_is_said():
    x = (1000 * normal(300, 2)).long().numpy() + 10**18
    assert f"({x[:, 0].min()}, {x[:, 1].min()}) were fitted; take the same off" in said(prepared(x))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_fit_where_gradients_are_off(mode):
    x = ring(200)
    with mode():
        result = training.fit(x.clone(), **TINY)
    assert torch.equal(result.flow.transform(x), training.fit(x, **TINY).flow.transform(x))


def test_few_rows_for_many_dimensions_make_any_verdict_doubtful():
    few, enough = (prepared(normal(rows, 6)) for rows in (100, 300))
    assert "85 training rows for 6 dimensions, fewer than 20 for each" in said(few) and "model.keep 4" in said(few)
    assert "fewer than 20" not in said(enough)
    assert too_few(100, 6).limit(0) == too_few(100, 6).limit(2) == 0.5


def test_a_note_names_a_few_of_many_columns():
    notes = prepared(normal(90, 12).repeat(2, 1)).notes
    assert any(
        "columns 0, 1, 2, 3, 4, 5, 6, 7, ... (12 in all) hold more than 1 % exact ties" in note for note in notes
    )


def test_a_recording_is_told_to_say_which_rows_belong_together():
    steps = normal(2000, 4)
    walk = steps.clone()
    for i in range(1, len(walk)):  # likeness of neighbours .98, as of smoothed rates at 40 Hz
        walk[i] = 0.98 * walk[i - 1] + 0.2 * steps[i]
    assert "rows next to one another are alike" in said(prepared(walk))
    assert "alike" not in said(prepared(walk, sources=torch.arange(2000) // 100))
    assert "alike" not in said(prepared(walk[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]))


def test_rows_sorted_by_class_are_no_recording():
    rows = normal(2000, 4) + 20 * normal(10, 4, seed=1).repeat_interleave(200, 0)
    assert in_a_series(rows) is None and in_a_series(normal(300, 4)) is None


def test_of_normalised_rows_a_sphere_is_all_that_is_claimed():
    found = [Oddity("a"), of_one_norm(torch.nn.functional.normalize(normal(600, 8), dim=1))]
    assert (
        claimed(found, 5).startswith("a sphere: all rows have norm 1.")
        and claimed(found, 0) == claimed(found[:1], 5) == ""
    )
    result = training.fit(ring(200), **TINY)
    assert "claimed" not in result.verdict() and result.to_dict()["claim"] == ""
    verdict = replace(result, claim=claimed(found, 5)).verdict()
    assert verdict.startswith(
        "claimed: a sphere: all rows have norm 1. The dimensions below are its own, and nothing else is."
    )


def test_a_column_that_is_constant_in_the_training_rows_alone_is_named():
    x, sources = normal(400, 4), torch.arange(400) // 100
    ready = prepared(x, sources)
    held = ready.activations.sources[ready.held_out].unique()
    x[:, 2] = 7.0
    with pytest.warns(UserWarning, match="constant columns"):
        assert "one value" not in said(prepared(x, sources))
    x[sources == held[0], 2] += normal(100)
    with pytest.warns(UserWarning, match="constant columns"):
        ready = prepared(x, sources)
    assert "columns 2 have one value in all training rows and others in held-out rows: they were set aside" in said(
        ready
    )
