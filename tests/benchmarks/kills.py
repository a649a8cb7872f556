"""SIGKILL in a loop: a run is killed again and again, each time after a few more steps, and resumed.

    python tests/benchmarks/kills.py --kills 20

prints for every life the steps at which it began and was killed, and whether what the run ends with is, file by file, what an
undisturbed one ends with. Exits with 1 if a checkpoint could not be loaded, a step was lost or done twice, or a file differs.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

import training.figures.run
from training import cli
from training.commands import _fits
from training.runtime.checkpoint_file import CheckpointFile
from training.runtime.checkpoints import Checkpoint

SETTINGS = [
    *("--data.planted=circle", "--data.rows=400", "--data.noise-dims=1", "--null-worth=0.03", "--threads=1"),
    *("--model.components=4", "--model.hidden=8", "--path.settle=250", "--path.screen=40", "--path.debias=40"),
    *("--path.steps-per-point=2", "--path.points-per-decade=4", "--path.narrow=40", "--path.rounds=1"),
]
FILES = ("flow.json", "flow.safetensors", "path.csv", "result.json", "history.json", "data.safetensors", "verdict.txt")


def life(argv: list[str], every: int) -> int:
    """The command line in a child process: its id."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    Checkpoint.__init__.__defaults__ = (every,)  # every 500 steps would outlast this run
    os._exit(cli.main(["fit", *argv]))


def step_of(file: Path) -> int:
    """The step of a checkpoint, which must load whenever it is there; -1 where it is not yet."""
    return int(CheckpointFile().load_checkpoint(file)["global_step"]) if file.exists() else -1


def killed(argv: list[str], run: Path, chance: random.Random, every: int) -> tuple[int, int]:
    """Let it go on from its checkpoint, kill it a moment after it has written some more; the steps before and after."""
    file = run / "checkpoints" / "last.ckpt"
    before = step_of(file)
    child = life(argv, every)
    wanted = before + chance.randint(1, 3 * every)
    while step_of(file) < wanted:
        if os.waitpid(child, os.WNOHANG)[0]:
            raise SystemExit(f"the run ended at step {step_of(file)} before it could be killed: fewer --kills")
        time.sleep(0.002)
    time.sleep(chance.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return before, step_of(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=int, default=3, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    training.figures.run.save_figures = lambda *a: []  # pictures of no interest here
    _fits.found = lambda *a: []
    chance = random.Random(given.seed)
    os.chdir(tempfile.mkdtemp(prefix="unknot-kills-"))
    whole, run = Path("whole"), Path("run")
    assert os.waitpid(life([*SETTINGS, "--out", "whole"], 10_000), 0)[1] == 0
    argv = [*SETTINGS, "--out", "run"]
    for number in range(given.kills):
        before, after = killed(argv, run, chance, given.every)
        print(
            f"life {number + 1:3d}: from step {max(before, 0):4d}, killed when its checkpoint was of step {after:4d}",
            flush=True,
        )
        if after < before or not (run / "config.yaml").exists():
            return 1
        argv = ["--resume", "run"]
    left = [path.name for path in run.rglob("*.part")]
    assert os.waitpid(life(argv, 10_000), 0)[1] == 0
    steps = [row["step"] for row in json.loads((run / "history.json").read_text())]
    differs = [name for name in FILES if (whole / name).read_bytes() != (run / name).read_bytes()]
    once = steps == sorted(set(steps))
    print(
        f"{given.kills} kills, {given.kills} checkpoints loaded, half-written files left by the last kill: {len(left)}"
    )
    print(f"history: {len(steps)} rows up to step {steps[-1]}, every one once: {once}")
    print(f"files that differ from the undisturbed run's: {', '.join(differs) or 'none'} of {len(FILES)}")
    return int(bool(differs) or not once)


if __name__ == "__main__":
    sys.exit(main())
