"""Outliers x duplicates x dtype x lattice x order x sources: rows are split, checked and said, or refused in a sentence.

No flow is trained. UNKNOT_EXAMPLES=1000 tries more than the 40 of every run. And runs that begin at once.
"""

import os
import warnings

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.data.activations import Activations
from training.data.preparing import prepare
from training.data.twins import row_keys
from training.runtime.run_folder import RunFolder
from training.settings import ModelSettings, PathSettings

EXAMPLES = int(os.environ.get("UNKNOT_EXAMPLES", "40"))
SEARCH = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True)
PLAIN = ("hold", "contain", "split needs", "constant", "too few", "range of")


@st.composite
def odd_rows(draw):
    """Rows and what was done to them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, dims = draw(st.integers(100, 400)), draw(st.integers(1, 6))
    x = rng.normal(size=(rows, dims))
    order = draw(st.sampled_from([None, None, None, "walk", "time"]))
    if order:
        for i in range(1, rows):
            x[i] = 0.9 * x[i - 1] + 0.44 * x[i]
    step = draw(st.sampled_from([0.0, 0.0, 0.1, 1.0]))
    if step:
        x = np.round(x / step) * step
    repeats = draw(st.sampled_from([1, 1, 2, 5]))
    x = np.repeat(x[: -(-rows // repeats)], repeats, axis=0)[:rows]
    far = draw(st.sampled_from([0.0, 0.0, 1e3, 1e6]))
    if far:
        x[:2] = far
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6, 1e18]))
    dtype = draw(st.sampled_from(["float16", "float32", "float64", "int32", "int64", "uint8"]))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        x = (x * scale).astype(dtype)
    sources = draw(st.sampled_from([None, None, None, 10])) if order != "time" else None
    return x, order, step, repeats, far, None if sources is None else np.arange(rows) // sources


@SEARCH
@given(odd_rows())
def test_whatever_rows_come_they_are_split_apart_or_refused_in_a_sentence(case):
    x, order, step, repeats, far, sources = case
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            known = Activations(x, sources=sources, order="time" if order == "time" else None)
            ready = prepare(known, ModelSettings(components=2, hidden=4), PathSettings(), 0)
    except ValueError as error:
        assert any(word in str(error) for word in PLAIN), error
        return
    train, held_out = set(ready.train.tolist()), set(ready.held_out.tolist())
    assert train and held_out and not train & held_out
    assert torch.isfinite(ready.data.white[:8]).all() and np.isfinite(ready.offset)
    told = " ".join(oddity.sentence for oddity in ready.oddities)
    if ready.activations.sources is not None:
        sides = [set(ready.activations.sources[rows].tolist()) for rows in (ready.train, ready.held_out)]
        assert not sides[0] & sides[1]
    if sources is None and order is None and repeats > 1:
        keys = row_keys(ready.activations.x)
        assert not set(keys[ready.train].tolist()) & set(keys[ready.held_out].tolist()) and "identical" in told
    if order == "time":
        assert "rows are in order of time" in told
    unique = max(len(np.unique(x[:, j])) for j in range(x.shape[1]))
    if step == 1.0 and not far and 1 < unique < 12:
        assert "few distinct values" in told and min(oddity.limit(1) for oddity in ready.oddities) <= 0.5


def test_runs_that_begin_at_once_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "now")
    monkeypatch.setattr(
        "pathlib.Path.exists", lambda self: False
    )  # none sees the other's folder before it makes its own
    assert len({RunFolder.create(None, "run").path for _ in range(3)}) == 3
    RunFolder.create("one", "run")
    try:
        RunFolder.create("one", "run")
    except FileExistsError as error:
        assert "name another" in str(error)
    else:
        raise AssertionError("two runs write into one folder")
