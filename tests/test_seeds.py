"""Several seeds: the votes, the table and the figure; `unknot fit --seeds` runs, goes on and refuses other settings."""

import json

import pytest

from training import cli
from training.seeds import SeedRow, Seeds

TINY = [
    "--data.planted=circle",
    "--data.rows=300",
    "--data.noise-dims=1",
    "--model.hidden=8",
    "--model.components=4",
    "--path.settle=3",
    "--path.screen=2",
    "--path.steps-per-point=1",
    "--path.points-per-decade=2",
    "--path.debias=2",
    "--path.debias-rounds=1",
    "--path.warm-up=1",
    "--path.narrow=2",
    "--path.rounds=1",
    "--null-worth=0.03",
]


def row(seed, k, resampled, worth=(0.13, 0.13), seconds=60.0):
    return SeedRow(seed, k, 0.9, resampled[k], resampled, list(worth), [0.4], [(0, 5.9), (k, 5.6)], 6.0, seconds)


@pytest.fixture
def seeds():
    return Seeds([row(0, 2, {2: 1.0}), row(1, 2, {1: 0.2, 2: 0.8}), row(2, 1, {1: 0.7, 2: 0.3}, [0.2], None)])


def test_votes_count_every_pair_of_seed_and_resample(seeds):
    assert seeds.votes == pytest.approx({2: 0.7, 1: 0.3})
    assert list(seeds.votes) == [2, 1] and seeds.structure_dim == 2


def test_the_table(seeds):
    lines = repr(seeds).splitlines()
    assert lines[0].split()[:6] == ["seed", "k", "confidence", "stability", "nll", "seconds"]
    assert lines[1].split() == ["0", "2", "0.90", "100%", "6.000", "60", "0.130", "x", "2"]
    assert lines[3].split() == ["2", "1", "0.90", "70%", "6.000", "-", "0.200"]
    assert lines[4] == "k = 2 in 2 of 3 seeds, k = 1 in 1 of 3 seeds"
    assert lines[5].endswith("k = 2 70%, k = 1 30%")


def test_the_file_is_strict_json(seeds, tmp_path):
    seeds.write(tmp_path)
    found = json.loads((tmp_path / "seeds.json").read_text(), parse_constant=pytest.fail)
    assert found["structure_dim"] == 2 and [r["seed"] for r in found["rows"]] == [0, 1, 2]
    assert found["rows"][2]["seconds"] is None


def test_the_figure(seeds):
    ax = seeds.plot()
    assert [line.get_label() for line in ax.lines if not line.get_label().startswith("_")] == [
        "seed 0",
        "seed 1",
        "seed 2",
    ]
    assert ax.get_title() == "k = 2 has the most votes"
    strip = ax.figure.axes[-1]
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in strip.patches] == [
        pytest.approx((2, 0.7)),
        pytest.approx((1, 0.3)),
    ]


def test_seeds_on_the_command_line(tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["fit", *TINY, "--seed=3", "--seeds=2", f"--out={out}"]
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    assert "votes over seeds and resamples" in printed and f"seeds: {out}" in printed
    assert {p.name for p in out.iterdir()} == {"seed-3", "seed-4", "seeds.json", "seeds.png"}
    rows = json.loads((out / "seeds.json").read_text())["rows"]
    for found in rows:
        result = json.loads((out / f"seed-{found['seed']}" / "result.json").read_text())
        assert (found["seed"], found["structure_dim"], found["nll"]) == (
            result["seed"],
            result["structure_dim"],
            result["nll"],
        )
    assert rows[0]["nll"] != rows[1]["nll"]

    before = (out / "seed-4" / "flow.safetensors").stat().st_mtime_ns
    assert cli.main(argv) == 0
    assert (out / "seed-4" / "flow.safetensors").stat().st_mtime_ns == before, "a finished seed is read, not run again"
    assert json.loads((out / "seeds.json").read_text())["rows"] == rows

    assert cli.main([*argv, "--model.kappa=2"]) == 1
    assert "seed-3 is finished, with other settings" in capsys.readouterr().err
    assert "seeds: 1" in (out / "seed-3" / "config.yaml").read_text()


def test_seeds_that_cannot_be(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    for argv in (["--seeds=0"], ["--seeds=2", f"--resume={tmp_path}"]):
        assert cli.main(["fit", *argv]) == 1
        assert "seeds must be at least 1, and 1 with --resume" in capsys.readouterr().err
