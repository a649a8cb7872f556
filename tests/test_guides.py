"""Every Python block of README.md and of the guides runs, from the first to the last, on small data and short fits."""

import functools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import reader
import torch
import yaml
from snippets import ROOT, guides, python_only
from torch import nn

import training
from training import planted

SHORT = dict(
    settle=20, screen=10, steps_per_point=1, points_per_decade=6, debias=10, debias_rounds=1, narrow=5, rounds=1
)
WITH_CODE = [guide.relative_to(ROOT).as_posix() for guide in guides() if python_only(guide.read_text()).strip()]


@pytest.fixture(scope="module")
def has():
    """What the reader has, by the names of tests/reader.py: a ring with one column of noise, a small net, and so on."""
    fast = yaml.safe_load((ROOT / "configs" / "fast.yaml").read_text())
    made = training.planted("circle", rows=1500, noise_dims=1)
    x, angle = made.x.numpy(), made.angles[:, 0].numpy()
    torch.manual_seed(0)
    parts = OrderedDict(mix=nn.Linear(3, 3), bend=nn.Tanh(), answer=nn.Linear(3, 4))
    model = nn.Sequential(parts)
    return {
        "x": x,
        "xa": x[:80, :2],
        "xb": x[80:160, :2] @ np.array([[0, 2], [2, 0]]),
        "points": x,
        "labels": np.floor(angle / (2 * np.pi) * 7).astype(int) % 7,
        "template": np.arange(1500) % 3,
        "value": np.array([1.0]),
        "f_table": [[0, 1], [1, 0]],
        "g_table": [[1, 0], [0, 1]],
        "model": model,
        "head": lambda rows: 3 * rows[:, :2],
        "f": lambda rows: (rows**2).sum(1, keepdim=True),
        "inputs": torch.randn(4, 8, 3),
        "batches": [torch.randn(50, 8, 3) for _ in range(2)],
        "result": training.fit(made.x, **fast["path"], null_worth=0.03),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("guide", WITH_CODE)
def test_every_block_runs(guide, has, monkeypatch, tmp_path):
    assert set(has) == set(reader.__annotations__)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "planted", lambda name, rows, noise_dims: planted(name, rows=rows // 4, noise_dims=1))
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, null_worth=0.03, **SHORT))
    source = python_only(Path(ROOT / guide).read_text(encoding="utf8"))
    exec(compile(source, guide, "exec"), dict(has))
