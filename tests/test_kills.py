"""Runs killed, and runs of several processes: minutes long, so slow."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_killed_twenty_times_nothing_is_lost():
    done = subprocess.run(
        [sys.executable, "tests/benchmarks/kills.py", "--kills", "20"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "files that differ from the undisturbed run's: none of 7" in done.stdout


PART = """
import sys, torch, training
from training.data.activations import Activations
from training.fitting import run
from training.data.preparing import prepare
from training.settings import ModelSettings, PathSettings
torch.set_num_threads(1)
devices, out = int(sys.argv[1]), sys.argv[2]
model = ModelSettings(components=4, hidden=8)
path = PathSettings(settle=4, screen=6, steps_per_point=2, points_per_decade=2, debias=3, debias_rounds=1, narrow=2,
                    warm_up=1, rounds=1, batch=64, exit_lr=.05, largest_lam=10.0)
prepared = prepare(Activations(training.planted("circle", 400, noise_dims=1).x), model, path, 0)
strategy = "ddp_find_unused_parameters_true" if devices > 1 else "auto"
result = run(prepared, model, path, 0, 0.03, devices=devices, strategy=strategy)
torch.save(dict(flow=result.flow.state_dict(), prices=torch.from_numpy(result.prices), J=result.J, steps=result.steps,
                k=torch.from_numpy(result.path["k"].copy())), out)
"""


@pytest.mark.slow
def test_two_processes_are_one_with_the_joint_batch(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    alone = subprocess.Popen([sys.executable, "-c", PART, "1", str(tmp_path / "alone")], cwd=ROOT)
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", PART, "2", str(tmp_path / str(rank))],
            cwd=ROOT,
            env={**shared, "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(600) for process in (alone, *pair)] == [0, 0, 0]
    one, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("alone", "0", "1"))
    for name, tensor in first["flow"].items():
        assert torch.equal(tensor, second["flow"][name]), f"{name} differs between the processes"
        assert torch.allclose(tensor.double(), one["flow"][name].double(), atol=1e-3), (
            f"{name} differs from one process'"
        )
    assert first["steps"] == one["steps"] and torch.equal(first["k"], one["k"])
    assert torch.allclose(first["prices"], one["prices"], atol=1e-3, equal_nan=True)
    assert first["J"] == pytest.approx(one["J"], abs=1e-3)


SHORT = [
    "--data.planted",
    "circle",
    "--data.rows",
    "800",
    "--data.noise-dims",
    "1",
    "--null-worth",
    ".03",
    "--threads",
    "1",
    "--model.hidden",
    "8",
    "--model.components",
    "4",
    "--path.settle",
    "20",
    "--path.screen",
    "20",
    "--path.steps-per-point",
    "2",
    "--path.points-per-decade",
    "4",
    "--path.debias",
    "10",
    "--path.debias-rounds",
    "1",
    "--path.most-supports",
    "3",
    "--path.narrow",
    "4",
    "--path.rounds",
    "1",
    "--path.batch",
    "64",
]


@pytest.mark.slow
def test_devices_2_stopped_and_resumed_ends_as_undisturbed_and_as_one_process(tmp_path):
    def fit(*flags):
        command = [sys.executable, "-m", "training.cli", "fit", *flags]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finished(process, status=0):
        said, _ = process.communicate(timeout=600)
        assert process.returncode == status, said
        return said

    runs = {name: tmp_path / name for name in ("alone", "pair", "stopped")}
    finished(fit(*SHORT, f"--out={runs['alone']}"))
    said = finished(fit(*SHORT, "--devices=2", f"--out={runs['pair']}"))
    assert said.count("structure: ") == 1  # the other process keeps quiet
    stopped = fit(*SHORT, "--devices=2", f"--out={runs['stopped']}")
    while "settle" not in stopped.stdout.readline():
        assert stopped.poll() is None
    stopped.send_signal(signal.SIGINT)
    assert finished(stopped, 130).count("unknot fit: ") == 1
    finished(fit("--resume", str(runs["stopped"])))
    for name in ("flow.safetensors", "path.csv"):
        assert (runs["pair"] / name).read_bytes() == (runs["stopped"] / name).read_bytes(), name
    one, two = (json.loads((runs[name] / "result.json").read_text(encoding="utf8")) for name in ("alone", "pair"))
    assert two["J"] == pytest.approx(one["J"], abs=2e-3)
