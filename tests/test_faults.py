"""Faults injected into checkpoints and run folders: each has its own message, and what was there before stays whole."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import pytest
import torch
from lightning import Callback

import flows
import training
from analysis.run import SavedRun
from flows.io import writing
from training import cli
from training.data.activations import Activations
from training.data.preparing import prepare
from training.fitting import run
from training.runtime.checkpoint_file import CheckpointError, CheckpointFile
from training.runtime.checkpoints import Checkpoint
from training.runtime.stopping import StoppedError, signals_raise
from training.settings import ModelSettings, PathSettings

MODEL = ModelSettings(components=4, hidden=8)
PATH = PathSettings(
    settle=4, screen=3, steps_per_point=1, points_per_decade=2, debias=3, debias_rounds=1, narrow=2, warm_up=1, rounds=1
)
ROWS = training.planted("circle", 400, noise_dims=1, seed=0).x


def fit(callbacks=(), resume=None, rows=ROWS, model=MODEL, path=PATH):
    return run(prepare(Activations(rows), model, path, 0), model, path, 0, 0.03, callbacks, resume)


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            raise StoppedError("stopped")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a checkpoint in the middle of a run."""
    file = tmp_path_factory.mktemp("whole") / "last.ckpt"
    with pytest.raises(StoppedError):
        fit([Checkpoint(file, every=1), StopAt(9)])
    return file.read_bytes()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints" / "last.ckpt"


def load(file):
    return CheckpointFile().load_checkpoint(file)


def test_a_checkpoint_reads_back(written, file):
    file.write_bytes(written)
    assert load(file)["global_step"] == 9


@pytest.mark.parametrize("tenth", range(10))
def test_truncated_at_each_tenth(written, file, tenth):
    file.write_bytes(written[: len(written) * tenth // 10])
    message = "is no checkpoint of unknot fit: 0 bytes" if tenth == 0 else r"is truncated .* \d+ bytes, expected \d+"
    with pytest.raises(CheckpointError, match=f"{message}.*unknot fit -c .*config.yaml"):
        load(file)


@pytest.mark.parametrize("size", [1, 17, 18, 19, 20, 60, 90])
def test_truncated_in_its_first_line(written, file, size):
    file.write_bytes(written[:size])
    with pytest.raises(CheckpointError, match="no checkpoint|truncated or"):
        load(file)


def test_any_flipped_bit_is_found(written, file):
    places = [*range(95), *range(95, len(written), len(written) // 60)]
    for at in places:
        for bit in (1, 128) if at > 95 else (1, 2, 4, 8, 16, 32, 64, 128):
            file.write_bytes(written[:at] + bytes([written[at] ^ bit]) + written[at + 1 :])
            with pytest.raises(CheckpointError):
                load(file)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_malicious_pickle_does_not_run(file, tmp_path):
    CheckpointFile().save_checkpoint({"state_dict": Bomb(tmp_path / "boom")}, file)
    with pytest.raises(CheckpointError, match="holds more than tensors and plain data, which could run code") as error:
        load(file)
    assert "weights_only=False" not in str(error.value)
    assert not (tmp_path / "boom").exists()
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(CheckpointError, match="is no checkpoint of unknot fit"):
        load(file)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((b"checkpoint 1 ", b"checkpoint 2 "), "has format 2, this unknot reads up to 1: .* upgrade unknot"),
        ((b"checkpoint 1 ", b"checkpoint 0 "), "must have format 1, got 0"),
        ((b"unknot", b"knot"), "is no checkpoint of unknot fit: .* begin with b'knot che'"),
    ],
)
def test_another_format(written, file, change, message):
    file.write_bytes(written.replace(*change, 1))
    with pytest.raises(CheckpointError, match=message):
        load(file)


def edited(written, file, change):
    file.write_bytes(written)
    checkpoint = load(file)
    change(checkpoint)
    CheckpointFile().save_checkpoint(checkpoint, file)
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("optimizer_states"), "lacks optimizer_states"),
        (lambda c: c["course"].pop("began"), "course lacks began"),
        (lambda c: c["course"].update(mood="blue"), "course has an unknown mood"),
        (lambda c: c["state_dict"].pop("flow.exits.tau"), "flow lacks flow.exits.tau"),
        (lambda c: c["state_dict"].update(more=torch.ones(1)), "flow has an unknown more"),
        (lambda c: c["state_dict"].update({"flow.field.W2": torch.ones(9, 9)}), r"W2 \(9, 9\), now \(8, 8\)"),
    ],
)
def test_a_missing_or_extra_key(written, file, change, message):
    with pytest.raises(CheckpointError, match=message):
        fit(resume=edited(written, file, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": dataclasses.replace(MODEL, hidden=16)}, "is of another flow: model.hidden: 8 -> 16; resume with"),
        ({"model": dataclasses.replace(MODEL, kappa=2.0)}, "is of another flow: model.kappa: 1.0 -> 2.0; resume with"),
        (
            {"rows": ROWS + 1},
            "not those of the checkpoint: a mean or standard deviation differs by 1; resume with the same",
        ),
        ({"rows": torch.cat([ROWS, ROWS[:, :1].exp()], 1)}, r"is of other shapes: flow.order \(3,\), now \(4,\)"),
    ],
)
def test_another_architecture_or_other_data(written, file, change, message):
    file.write_bytes(written)
    with pytest.raises(CheckpointError, match=message):
        fit(resume=file, **change)
    assert file.read_bytes() == written


# a loss that is not finite


class Spoil(Callback):
    """Spoils the weights after optimiser step ``step``."""

    def __init__(self, *steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps:
            module.flow.field.W2.data.fill_(float("nan"))


def weights(result):
    return torch.cat([tensor.flatten().double() for tensor in result.flow.state_dict().values()])


@pytest.mark.parametrize("spoilt", [(2,), (6,), (9,), (13,), (9, 10)], ids=str)
def test_a_loss_that_is_not_finite_goes_back_with_a_smaller_step(spoilt, untouched_rng):
    with untouched_rng():
        whole = fit([Spoil(*spoilt)])
    said = [note for note in whole.notes if note.startswith("loss not finite at step")]
    assert [note.split(":")[0].split()[5] for note in said] == [str(step + 1) for step in spoilt]
    assert said[-1].endswith(f"back to where it began, at 1/{2 ** len(spoilt)} of the step size")
    assert weights(whole).isfinite().all()
    assert whole.steps > fit().steps


def test_a_run_that_went_back_resumes_to_the_same_bits(file):
    whole = fit([Spoil(9, 10)])
    for step in (9, 10, 11, 13, whole.steps - 1):
        file.unlink(missing_ok=True)
        with pytest.raises(StoppedError):
            fit([Spoil(9, 10), Checkpoint(file, every=1), StopAt(step)])
        resumed = fit([Spoil(9, 10)], resume=file)
        assert torch.equal(weights(resumed), weights(whole)), step
        assert (resumed.steps, resumed.notes, resumed.J) == (whole.steps, whole.notes, whole.J)
        assert (resumed.path == whole.path).all()


def test_it_is_given_up_after_the_stated_number_of_tries():
    message = r"not finite at step 4 \(settle\), given up after 2 retries, each at half the step size; lower path.lr"
    with pytest.raises(FloatingPointError, match=message):
        fit([Spoil(*range(40))], path=dataclasses.replace(PATH, retries=2))


# a full disk


class FullDisk(io.FileIO):
    """A file that has room for 1000 bytes."""

    def write(self, content):
        super().write(content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_checkpoint_before(file, monkeypatch):
    with pytest.raises(StoppedError):
        fit([Checkpoint(file, every=1), StopAt(5)])
    before = file.read_bytes()
    monkeypatch.setattr(writing, "open", FullDisk, raising=False)
    with pytest.raises(
        OSError, match=r"cannot write .*last.ckpt at step 6 \(No space left on device\); the one before it"
    ):
        fit([Checkpoint(file, every=1)], resume=file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"], "nothing half-written is left"
    monkeypatch.undo()
    assert fit(resume=file).J == fit().J


def test_dev_full(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(writing, "open", lambda path, mode: io.FileIO("/dev/full", mode), raising=False)
        with pytest.raises(OSError, match="No space left"):
            writing.write_whole({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


# signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_raise_and_are_put_back(number):
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=signal.Signals(number).name) as stopped, signals_raise():
        os.kill(os.getpid(), number)
    assert stopped.value.exit_status == 128 + number
    assert signal.getsignal(number) is before


SMALL = [
    *("--data.planted=circle", "--data.rows=400", "--data.noise-dims=1", "--null-worth=0.03"),
    *("--model.components=4", "--model.hidden=8"),
    *(
        f"--path.{f.replace('_', '-')}={getattr(PATH, f)}"
        for f in ("settle", "screen", "steps_per_point", "points_per_decade")
    ),
    *(
        f"--path.{f.replace('_', '-')}={getattr(PATH, f)}"
        for f in ("debias", "debias_rounds", "narrow", "warm_up", "rounds")
    ),
]


def unknot(*argv):
    """The command line in this process, without its figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.figures.run.save_figures", lambda *a: None)
        patch.setattr("training.commands._fits.found", lambda *a: [])
        return cli.main([*argv])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "place", ["training.data.source.read_data", "training.data.preparing.prepare", "training.stages.nulls.find_null"]
)
def test_a_signal_before_the_first_step_leaves_nothing(number, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(place, lambda *a, **k: os.kill(os.getpid(), number))
    if place.endswith("find_null"):
        monkeypatch.setattr("training.fitting.find_null", lambda *a, **k: os.kill(os.getpid(), number))
    assert unknot("fit", *SMALL, "--out", str(tmp_path / "run")) == 128 + number
    said = capsys.readouterr().err
    assert said == f"unknot fit: {signal.Signals(number).name}; before the first step: nothing is kept\n"
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the command line that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert unknot("fit", *SMALL, "--out", str(folder)) == 0
    return folder


def different(a, b):
    """Which of the files that say what was found are not the same, byte for byte."""
    files = [
        "flow.json",
        "flow.safetensors",
        "path.csv",
        "result.json",
        "history.json",
        "data.safetensors",
        "verdict.txt",
    ]
    files += [str(p.relative_to(a)) for p in (a / "snapshots").rglob("flow.*")]
    return [name for name in files if (a / name).read_bytes() != (b / name).read_bytes()]


def test_stopped_at_any_stage_the_command_line_ends_with_the_same_files(whole, tmp_path, monkeypatch):
    steps = json.loads((whole / "result.json").read_text())["steps"]
    assert steps > 16
    batch_end = Checkpoint.on_train_batch_end
    for step in (*range(1, steps, 4), steps):  # every one of them is in test_fitting.py

        def stop(self, trainer, *rest, step=step):
            self.every = 1
            batch_end(self, trainer, *rest)
            if trainer.global_step == step:
                raise StoppedError("stopped")

        run = tmp_path / f"run-{step}"
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "on_train_batch_end", stop)
            assert unknot("fit", *SMALL, "--out", str(run)) == 128 + signal.SIGTERM
        assert not (run / "result.json").exists()
        assert unknot("fit", "--resume", str(run)) == 0
        assert different(whole, run) == [], step


def test_an_explicit_flag_wins_and_what_changes_is_said(written, whole, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").write_bytes(written)
    (run / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    capsys.readouterr()
    assert unknot("fit", "--resume", str(run), "--path.lr=0.001", "--path.clip=4") == 0
    said = capsys.readouterr().out
    assert "changed on resuming: path.lr: 0.003 -> 0.001\n" in said
    assert "changed on resuming: path.clip: 5.0 -> 4.0\n" in said
    assert said.count("changed on resuming") == 2
    assert "lr: 0.001" in (run / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--model.hidden=16", "model.hidden: 8 -> 16"),
        ("--model.kappa=2", "model.kappa: 1.0 -> 2.0"),
        ("--seed=4", "seed: 0 -> 4"),
        ("--data.rows=500", "data.rows: 400 -> 500"),
        ("--path.held-out=0.5", "path.held_out: 0.15 -> 0.5"),
    ],
)
def test_what_a_resumed_run_cannot_change(whole, flag, message, capsys):
    before = (whole / "config.yaml").read_bytes()
    assert unknot("fit", "--resume", str(whole), flag) == 1
    assert f"a resumed run keeps its seed, data, model, path.held_out; {message} cannot be" in capsys.readouterr().err
    assert (whole / "config.yaml").read_bytes() == before


# results, once training is done


def test_a_signal_while_results_are_written(whole, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.figures.run.save_figures", lambda *a: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr("training.commands._fits.found", lambda *a: [])
        assert cli.main(["fit", *SMALL, "--out", str(run)]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == f"unknot fit: SIGTERM; go on with: unknot fit --resume {run}\n"
    assert not (run / "result.json").exists()
    with pytest.raises(ValueError, match="is not finished; go on with: unknot fit --resume"):
        SavedRun.load(run)
    assert unknot("fit", "--resume", str(run)) == 0
    assert different(whole, run) == []


def test_a_disk_that_is_full_when_results_are_written(whole, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_train_end", lambda self, trainer, module: self.save(trainer) or fill(patch))
        assert unknot("fit", *SMALL, "--out", str(run)) == 1
    said = capsys.readouterr().err
    assert f"No space left on device; then go on with: unknot fit --resume {run}" in said
    assert not [path for path in run.rglob("*") if path.suffix == ".part"]
    assert unknot("fit", "--resume", str(run)) == 0
    assert different(whole, run) == []


def fill(patch):
    patch.setattr(writing, "open", FullDisk, raising=False)


def test_the_sums_are_those_that_sha256sum_checks(whole):
    named = {}
    for line in (whole / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        named[name] = hashlib.sha256((whole / name).read_bytes()).hexdigest() == digest
    assert {"flow.json", "flow.safetensors", "result.json", "path.csv", "data.safetensors", "verdict.txt"} <= set(named)
    assert all(named.values())


@pytest.mark.parametrize("name", ["result.json", "path.csv", "data.safetensors", "SHA256SUMS"])
def test_any_flipped_bit_of_a_run_is_found(whole, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    assert SavedRun.load(run).flow.structure_dim == SavedRun.load(whole).flow.structure_dim
    good = (run / name).read_bytes()
    places = [i for i, line in enumerate(good.split(b"\n")) if line.endswith((b"result.json", b"path.csv"))]
    ats = range(0, len(good), len(good) // 20)
    if name == "SHA256SUMS":  # lines of files that are not read are not looked at
        starts = [sum(len(line) + 1 for line in good.split(b"\n")[:i]) for i in places]
        ats = [start + at for start in starts for at in (0, 5, 63, 64, 66, 70)]
    for at in ats:
        (run / name).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(
            ValueError, match="was changed after it was written: the checksums differ; restore it from a copy"
        ):
            SavedRun.load(run)


# one saved run per format, loaded for ever

RUN_V1 = Path(__file__).parent / "data" / "run-v1"


def test_run_format_1_loads_for_ever(tmp_path, monkeypatch):
    """tests/data/run-v1 was written once in an empty folder, the figures left out, by

    x = training.planted("two", 150, noise_dims=1).x; numpy.save("acts.npy", x), then unknot fit --data.file acts.npy with the
    flags of SMALL but those of the data, and --out run-v1; acts.npy was moved into it.
    """
    saved = SavedRun.load(RUN_V1)
    assert saved.result["structure_dim"] == saved.flow.structure_dim == 2
    assert (len(saved.held_out), len(saved.train), len(saved.path)) == (22, 128, 10)
    assert -float(saved.flow.log_prob(saved.held_out).mean()) == pytest.approx(saved.result["nll"], abs=1e-4)
    assert flows.load(RUN_V1 / "snapshots" / "k0").structure_dim == 0
    run = tmp_path / "run-v1"
    shutil.copytree(RUN_V1, run)
    shutil.move(run / "acts.npy", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert unknot("fit", "--resume", "run-v1") == 0
    assert json.loads((run / "result.json").read_text())["steps"] == saved.result["steps"]
