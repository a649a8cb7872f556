"""The command line as a user meets it: help, errors, a whole small run, resumption, the doctor."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import flows
from training import cli
from training.commands._fits import each_run
from training.runtime.options import fit_options
from training.runtime.presets import preset_names, resolve_argv
from training.runtime.processes import rank, trainer_settings

SMALL = [
    "--data.planted=circle",
    "--data.rows=600",
    "--path.settle=10",
    "--path.screen=5",
    "--path.steps-per-point=1",
    "--path.points-per-decade=4",
    "--path.debias=5",
    "--path.debias-rounds=2",
    "--path.warm-up=2",
    "--path.narrow=4",
    "--path.rounds=1",
    "--null-worth=0.03",
]


def unknot(*argv, cwd=None):
    """Run the command line in a fresh process."""
    command = [sys.executable, "-m", "training.cli", *argv]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=1200, env={**os.environ, "COLUMNS": "120"}
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    done = unknot("fit", *SMALL, "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run", done


def test_help_is_fast_and_imports_no_torch():
    code = "import sys; from training.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    seconds = []
    for _ in range(3):  # a busy machine is not our slowness
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 2


def test_a_run_leaves_everything_needed_to_read_it(finished):
    run, _ = finished
    names = {p.name for p in run.iterdir()}
    figures = {f"{n}.png" for n in ("path", "hull", "width", "structure", "noise", "training")}
    assert figures < names
    files = {
        "flow.json",
        "flow.safetensors",
        "config.yaml",
        "path.csv",
        "result.json",
        "data.safetensors",
        "verdict.txt",
    }
    assert files < names
    result = json.loads((run / "result.json").read_text())
    flow = flows.load(run)
    assert flow.structure_dim == result["structure_dim"]
    held_out = load_file(run / "data.safetensors")
    assert held_out["held_out.labels"].shape == held_out["held_out.rows"].shape
    assert -float(flow.log_prob(held_out["held_out.x"]).mean()) == pytest.approx(result["nll"], abs=1e-4)
    for k in result["J"]:
        assert flows.load(run / "snapshots" / f"k{k}").structure_dim == int(k)
    table = np.genfromtxt(run / "path.csv", delimiter=",", names=True, dtype=None, encoding="utf8")
    assert {"lam", "k", "nll", "gate_0"} < set(table.dtype.names)


def test_what_it_says(finished):
    run, done = finished
    stages = [line.split()[4] for line in done.stdout.splitlines() if re.match(r" *\d+ s +step", line)]
    assert stages[:2] == ["settle", "screen"]
    assert stages[-1] == "narrow"
    assert "lambda" in done.stdout and "kinetic" in done.stdout and "field evaluations" in done.stdout
    assert re.search(r"structure: (none|\d of 5 dimensions)", done.stdout)
    assert re.search(
        r"classes: the block's \d+ pieces agree with the 1 labels at [\d.]+; by the same tree PCA to", done.stdout
    )
    assert "GPU" not in done.stdout + done.stderr and "Tip" not in done.stdout + done.stderr
    assert (run / "verdict.txt").read_text().splitlines()[0] in done.stdout


def test_the_written_config_repeats_the_run(finished):
    run, done = finished
    again = unknot("fit", "-c", str(run / "config.yaml"), "--out", "again", cwd=run.parent)
    assert again.returncode == 0, again.stderr
    first, second = flows.load(run), flows.load(run.parent / "again")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_stopped_by_a_signal_and_resumed(finished, tmp_path):
    whole, _ = finished
    script = (
        "import os, signal, sys\n"
        "from training import cli\n"
        "from training.stages import module\n"
        "step = module.FunnelModule.training_step\n"
        "def stop(self, batch, i):\n"
        "    step(self, batch, i)\n"
        "    if self.global_step == 12: os.kill(os.getpid(), signal.SIGTERM)\n"
        "module.FunnelModule.training_step = stop\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "fit", *SMALL, "--out", "run"]
    stopped = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=1200)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert f"{signal.SIGTERM.name} at step 12; go on with: unknot fit --resume run" in stopped.stderr
    resumed = unknot("fit", "--resume", "run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    for name, tensor in flows.load(whole).state_dict().items():
        assert torch.equal(tensor, flows.load(tmp_path / "run").state_dict()[name]), name


def test_resuming_needs_a_run(tmp_path):
    done = unknot("fit", "--resume", str(tmp_path))
    assert done.returncode == 1
    assert "no config.yaml" in done.stderr


def test_a_later_config_and_flags_win(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("model:\n  kappa: 2\npath:\n  settle: 7\n")
    (tmp_path / "b.yaml").write_text("model:\n  kappa: 3\n")
    argv = ["-c", str(tmp_path / "a.yaml"), "-c", str(tmp_path / "b.yaml"), "--path.clip=1.5", "--print_config"]
    with pytest.raises(SystemExit):
        cli.main(["fit", *argv])
    printed = capsys.readouterr().out
    assert "kappa: 3" in printed and "settle: 7" in printed and "clip: 1.5" in printed


@pytest.mark.parametrize("name", ["digits", "fast"])
def test_presets_by_name(name):
    assert name in preset_names()
    assert resolve_argv(["-c", name])[1].endswith(f"{name}.yaml")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fitt"], "no verb 'fitt'; did you mean 'fit'"),
        (["fit", "-c", "digit"], "no preset 'digit'; did you mean 'digits'"),
        (["fit", "-c", "no/such.yaml"], "no config file 'no/such.yaml'"),
        (["fit", "--model.kapa=2"], "did you mean --model.kappa"),
        (["fit", "--path.setle=2"], "did you mean --path.settle"),
        (["fit", "--path.settle=many"], "settle"),
        (["fit", "--model.kappa=-1"], "kappa must not be negative"),
        (["fit"], "exactly one of data.subject, data.planted and data.file"),
        (["fit", "--data.subject=digit"], "no subject 'digit'; did you mean 'digits'"),
        (["fit", "--data.planted=torsu"], "did you mean 'torus'"),
        (["fit", "--data.file=none.npy"], "no file none.npy"),
        (["fit", "--data.planted=circle", "--null_worth=-1"], "null_worth must be a positive number"),
        (["fit", "--data.planted=circle", "--model.hidden=8.5"], "hidden"),
        (["fit", "--data.planted=circle", "--seed=-1"], "seed must lie in"),
    ],
)
def test_errors_say_what_to_do(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) in (1, 2)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*")), "a failed start leaves no run folder"


def test_an_existing_folder_is_not_written_into(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert cli.main(["fit", *SMALL, "--out", str(tmp_path / "mine")]) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["file"]


def test_nan_in_a_file_is_named(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    x[[3, 7]] = np.nan
    np.save(tmp_path / "x.npy", x)
    assert cli.main(["fit", "--data.file", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run")]) == 1
    assert "NaN or inf in 2 of 50 rows (first: 3, 7)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_doctor_is_content(capsys):
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "torch" in printed and "digits" in printed and "all is well" in printed


def test_the_doctor_sees_a_shadow(tmp_path):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").touch()
    found = unknot("doctor", cwd=tmp_path)
    assert found.returncode == 1
    assert "problem: 'analysis' is imported from" in found.stdout
    assert "rename it" in found.stdout


def test_verbs_that_read_runs_take_one_thread():
    from pathlib import Path

    from threadpoolctl import threadpool_info, threadpool_limits

    from training.commands._runs import analyzer_of, reader

    run = str(Path(__file__).parent / "data" / "run-v1")
    with threadpool_limits(2):
        analyzer_of(run, reader("analyze", "", [run]))
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}


def test_several_processes_are_counted_once_and_refuse_several_runs(monkeypatch, tmp_path):
    for name in ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert rank(4) == 0
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("NODE_RANK", "2")
    assert rank(4) == 11
    monkeypatch.setenv("SLURM_PROCID", "5")
    assert rank(4) == 5
    assert trainer_settings("cpu", 1, 1)["strategy"] == "auto"
    assert fit_options(["--devices=2", "--num-nodes=3"]).num_nodes == 3
    with pytest.raises(ValueError, match="at least 1, and 1 with several seeds, got 0 and 1"):
        fit_options(["--devices=0"])
    with pytest.raises(ValueError, match="one seed at a time"):
        fit_options(["--devices=2", "--seeds=3"])
    with pytest.raises(ValueError, match="leave out --devices"):
        next(each_run(tmp_path, ["--devices=2"], {"a": []}))
