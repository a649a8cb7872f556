"""A layer along its net's training."""

import json

import numpy as np
import pytest
import torch

from training import trained_subject
from training.cli import main
from training.following import Following, Moment
from training.subjects import SUBJECTS

QUICK = ["-c", "fast", "--threads", "1"]


def weights(name, step):
    return torch.cat([p.flatten() for p in trained_subject(name, rows=3600, step=step).model.parameters()])


@pytest.mark.parametrize("name", sorted(SUBJECTS))
def test_a_subject_stops_where_it_is_told(name):
    first, again, further = weights(name, 2), weights(name, 2), weights(name, 3)
    assert torch.equal(first, again) and not torch.equal(first, further)


def test_the_last_step_is_the_whole_training():
    whole = torch.cat([p.flatten() for p in trained_subject("digits", rows=1797).model.parameters()])
    assert torch.equal(
        torch.cat([p.flatten() for p in trained_subject("digits", rows=1797, step=10**6).model.parameters()]), whole
    )
    with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
        trained_subject("digits", step=-1)


@pytest.mark.slow
def test_files_are_followed_by_the_number_in_their_names(tmp_path, capsys):
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * np.pi, 900)
    noise = rng.normal(size=(900, 3)).astype(np.float32)
    ring = np.c_[np.cos(turn), np.sin(turn), noise[:, 0]] + 0.05 * rng.normal(size=(900, 3))
    np.save(tmp_path / "acts-200.npy", ring.astype(np.float32))
    np.save(tmp_path / "acts-30.npy", noise)
    files = [str(tmp_path / f"acts-{step}.npy") for step in (200, 30)]
    out = tmp_path / "out"
    assert main(["follow", "--data", *files, *QUICK, "--out", str(out)]) == 0
    moments = json.loads((out / "follow.json").read_text())["moments"]
    assert [m["step"] for m in moments] == [30, 200]
    assert [m["structure_dim"] for m in moments] == [0, 2]
    assert moments[0]["shape"] == "nothing but noise" and moments[1]["pieces"] >= 1
    assert (out / "follow.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert main(["follow", "--data", *files, *QUICK, "--out", str(out)]) == 0
    assert "ramp" in said and "ramp" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "say when to look"),
        (["--steps", "1", "--data", "a.npy"], "not both"),
        (["--steps", "1"], "-c rotated-digits"),
        (["--steps", "-1", "--data.subject", "digits"], "must be 0 or more"),
        (["--data", "a-1.npy", "b-1.npy"], "another step"),
        (["--steps", "1", "--data.subject", "digits", "--resume", "x"], "goes on by itself|no config.yaml"),
    ],
)
def test_what_cannot_be_followed_is_said(flags, words, capsys):
    import re

    assert main(["follow", *flags]) == 1
    assert re.search(words, capsys.readouterr().err)


def test_a_step_needs_a_subject(capsys):
    assert main(["fit", "--data.planted", "circle", "--data.step", "3"]) == 1
    assert "data.step is of a subject's training" in capsys.readouterr().err


def test_the_figure_and_the_table_show_every_moment():
    moments = [
        Moment(s, k, 0.5, [0.1] * k, [0.2] * k, "circle", 1, int(k > 0), {"accuracy": 0.5})
        for s, k in ((0, 0), (900, 2))
    ]
    found = Following(moments)
    assert repr(found).count("\n") == 2 and "0.100" in repr(found)
    ax = found.plot()
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["all together"].get_xdata().tolist() == [0, 900]
    assert lines["all together"].get_ydata().tolist() == [0, 0.2]
