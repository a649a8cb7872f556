"""unknot capture, unknot encode, and a run whose rows are too many to copy: from a model to a block and back."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import flows
from analysis import Analyzer, SavedRun
from flows.io import files
from training import capture, cli, read_activations

NETS = """
import torch
from torch import nn

def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed, self.mix = nn.Embedding(11, 6), nn.Linear(6, 5)

    def forward(self, ids, attention_mask=None):
        return self.mix(self.embed(ids))

module, three = net(), 3

def with_batches():
    return net(), [(torch.ones(5, 3), [0, 1, 2, 3, 4])]

def broken():
    raise KeyError("no")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a user's nets and inputs."""
    rng = np.random.default_rng(0)
    (tmp_path / "nets_of_mine.py").write_text(NETS)
    (tmp_path / "broken_nets.py").write_text("import torch\nnone_such.f()\n")
    (tmp_path / "needs_more.py").write_text("import none_such\n")
    np.save(tmp_path / "x.npy", rng.normal(size=(600, 3)))
    np.save(tmp_path / "labels.npy", rng.integers(0, 3, 600))
    mask = (np.arange(7) < rng.integers(1, 8, (40, 1))).astype(int)
    np.savez(tmp_path / "ids.npz", ids=rng.integers(0, 11, (40, 7)), attention_mask=mask, labels=rng.integers(0, 3, 40))
    np.savez(tmp_path / "uneven.npz", ids=np.zeros((4, 7), dtype=int), attention_mask=np.ones((3, 7)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unknot(line):
    return cli.main(line.split())


def test_a_module_and_inputs(here, capsys):
    assert unknot("capture nets_of_mine:module --layer 1 --inputs x.npy --batch 250 --out a.npy") == 0
    import nets_of_mine

    x = torch.from_numpy(np.load("x.npy")).float()
    torch.testing.assert_close(torch.from_numpy(np.load("a.npy")), capture(nets_of_mine.net(), "1", [x]).x)
    assert not list(here.glob("*.part"))
    printed = capsys.readouterr().out
    assert "1: Activations('Sequential.1', 600 rows x 8" in printed
    assert printed.splitlines()[-1] == "fit it with: unknot fit --data a.npy", "nothing is lost: each row is a source"


def test_tokens_with_masks_labels_and_sources(here, capsys):
    argv = "capture nets_of_mine:Tokens --layer mix --layer embed --inputs ids.npz --labels labels --out a.safetensors"
    assert unknot(argv) == 0
    tensors, ids = load_file("a.safetensors"), np.load("ids.npz")
    kept = ids["attention_mask"].sum(1)
    assert set(tensors) == {f"{n}{part}" for n in ("mix", "embed") for part in ("", ".labels", ".sources")}
    assert tensors["mix"].shape == (kept.sum(), 5) and tensors["embed"].shape == (kept.sum(), 6)
    assert tensors["mix.sources"].tolist() == np.repeat(np.arange(40), kept).tolist()
    assert tensors["embed.labels"].tolist() == np.repeat(ids["labels"], kept).tolist()
    command = capsys.readouterr().out.splitlines()[-1]
    flags = dict(re.findall(r"--(\w+) (\S+)", command))
    read = read_activations(flags["data"], flags["key"], flags["labels"], flags["groups"])
    assert read.x.equal(tensors["mix"]) and read.sources.equal(tensors["mix.sources"])


def test_npy_says_what_it_leaves_out(here, capsys):
    argv = "capture nets_of_mine:Tokens --layer mix --inputs ids.npz --labels labels --out a.npy --rows-from token"
    assert unknot(argv) == 0
    assert "note: .npy leaves out labels and sources; name it .safetensors to keep them" in capsys.readouterr().out


def test_a_function_that_gives_batches_too(here):
    assert unknot("capture nets_of_mine:with_batches --layer 2 --out a.safetensors") == 0
    tensors = load_file("a.safetensors")
    assert set(tensors) == {"x", "labels", "sources"} and tensors["labels"].tolist() == [0, 1, 2, 3, 4]


CAPTURE = [
    ("nets_of_mine --layer 1 --out a.npy", "expected module:object, got 'nets_of_mine'; for instance nets:model"),
    ("nets_of_mine.py:net --layer 1 --out a.npy", "expected module:object, got 'nets_of_mine.py:net'"),
    ("none_of_mine:net --layer 1 --out a.npy", "no module 'none_of_mine', neither installed nor in"),
    (
        "needs_more:net --layer 1 --out a.npy",
        "importing 'needs_more' failed: ModuleNotFoundError: No module named 'none",
    ),
    ("broken_nets:net --layer 1 --out a.npy", "importing 'broken_nets' failed: NameError: name 'none_such'"),
    ("nets_of_mine:ne --layer 1 --out a.npy", "no 'ne' in 'nets_of_mine:ne'; did you mean 'net'"),
    ("nets_of_mine:three --layer 1 --out a.npy", "nets_of_mine:three gave int, expected a torch module"),
    ("nets_of_mine:broken --layer 1 --out a.npy", "nets_of_mine:broken() failed: KeyError: 'no'"),
    ("nets_of_mine:net --layer 1 --out a.npy", "gives a model alone; say what to show it with --inputs"),
    ("nets_of_mine:with_batches --layer 1 --out a.npy --inputs x.npy", "gives batches too; leave --inputs out"),
    ("nets_of_mine:with_batches --layer 1 --out a.npy --labels labels.npy", "--labels and --key go with --inputs"),
    ("nets_of_mine:net --layer 1 --inputs x.npy --out a.txt", "has suffix '.txt', expected .npy or .safetensors"),
    ("nets_of_mine:net --layer 1 --layer 2 --inputs x.npy --out a.npy", "a.npy can hold one layer, got 2"),
    ("nets_of_mine:net --layer 1 --inputs x.npy --out no/a.npy", "no folder no to write a.npy into"),
    ("nets_of_mine:net --layer 7 --inputs x.npy --out a.npy", "no layer '7' in Sequential; valid: 0, 1, 2"),
    ("nets_of_mine:net --layer 1 --inputs y.npy --out a.npy", "no file y.npy"),
    ("nets_of_mine:net --layer 1 --inputs *.npy --out a.npy", "matches several files"),
    (
        "nets_of_mine:Tokens --layer mix --inputs uneven.npz --out a.npy",
        "uneven.npz holds inputs of 4 examples and of {",
    ),
    (
        "nets_of_mine:Tokens --layer mix --inputs ids.npz --key id --out a.npy",
        "no array 'id' in ids.npz; did you mean 'ids'",
    ),
    (
        "nets_of_mine:Tokens --layer mix --inputs ids.npz --labels lab --out a.npy",
        "no array 'lab' in ids.npz; did you mean",
    ),
    (
        "nets_of_mine:net --layer 1 --inputs x.npy --labels ids.npz --out a.npy",
        "labels must be one integer for each of 600 rows",
    ),
    ("nets_of_mine:net --layer 1 --inputs x.npy --mask kept --out a.npy", "no input 'kept' to take the mask from"),
    ("nets_of_mine:net --layer 1 --inputs x.npy --channel-axis 0 --out a.npy", "channel_axis must be an axis of shape"),
    ("nets_of_mine:net --layer 1 --inputs x.npy --batch 0 --out a.npy", "--batch must be at least 1, got 0"),
    ("nets_of_mine:net --inputs x.npy --out a.npy", "the following arguments are required: --layer"),
    ("nets_of_mine:net --layer 1 --inputs x.npy", "the following arguments are required: --out"),
]


def refused(argv, capsys):
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = stop.code
    assert status in (1, 2)
    return capsys.readouterr().err


@pytest.mark.parametrize(("argv", "message"), CAPTURE, ids=[message[:40] for _, message in CAPTURE])
def test_capture_says_what_is_wrong(here, capsys, argv, message):
    assert message in refused(["capture", *argv.split()], capsys)
    assert not list(here.glob("a.*")) and not list(here.glob("*.part"))


@pytest.fixture
def saved(make_flow, here):
    """A folder with a flow of five columns, two of them structure, and rows for it."""
    flow = make_flow(5, dtype=torch.float32)
    flow.save(here / "run")
    x = flow.sample(50, torch.Generator().manual_seed(0))
    np.save("rows.npy", x.numpy())
    return flows.load(here / "run"), x


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("structure", lambda flow, x: flow.encode(x)),
        ("noise", lambda flow, x: flow.split(flow.transform(x))[1]),
        ("latent", lambda flow, x: flow.transform(x)),
        ("project", lambda flow, x: flow.project(x)),
        ("log_prob", lambda flow, x: flow.log_prob(x)),
    ],
)
def test_encode_writes_what_the_flow_gives(saved, monkeypatch, capsys, what, expected):
    monkeypatch.setattr("flows.io.rows.CHUNK", 5 * 16)  # four chunks
    flow, x = saved
    assert cli.main(["encode", "run", "--data", "rows.npy", "--what", what]) == 0
    torch.testing.assert_close(torch.from_numpy(np.load(f"run/{what}.npy")), expected(flow, x), rtol=1e-4, atol=1e-4)
    assert f"wrote run/{what}.npy: 50 rows" in capsys.readouterr().out


def test_encode_reads_shards_from_disk(saved, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    flow, x = saved
    for i, part in enumerate(x.split(20)):
        np.save(f"part-{i}.npy", part.numpy())
    assert unknot("encode run --data part-*.npy --out s.npy") == 0
    torch.testing.assert_close(torch.from_numpy(np.load("s.npy")), flow.encode(x), rtol=1e-4, atol=1e-4)


ENCODE = [
    ("nowhere rows.npy", "no folder nowhere"),
    ("run x.npy", "activations must have 5 columns, got 3 (shape (600, 3))"),
    ("run none.npy", "no file none.npy"),
    ("run none-*.npy", "no file matches none-*.npy"),
    ("run rows.npy --key y", "no array 'y' in rows.npy"),
    ("run rows.npy --out s.txt", "suffix '.txt'"),
    ("run rows.npy --out s.safetensors", "--out must end in .npy"),
    ("run rows.npy --out no/s.npy", "no folder no to write s.npy into"),
    ("run rows.npy --what all", "invalid choice: 'all'"),
]


@pytest.mark.parametrize(("argv", "message"), ENCODE, ids=[message[:40] for _, message in ENCODE])
def test_encode_says_what_is_wrong(saved, capsys, argv, message):
    assert message in refused(["encode", *argv.split()], capsys)


def test_there_is_no_block_at_k_0(make_flow, here, capsys):
    make_flow(3, exits="shut", dtype=torch.float32).save("run")
    assert "found k = 0, nothing but noise" in refused(["encode", "run", "--data", "x.npy"], capsys)
    assert cli.main(["encode", "run", "--data", "x.npy", "--what", "latent", "--out", "z.npy"]) == 0


def test_an_encoding_that_fails_leaves_the_old_file(saved, here, monkeypatch, capsys):
    np.save("s.npy", np.ones(3))
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert "No space left" in refused(["encode", "run", "--data", "rows.npy", "--out", "s.npy"], capsys)
    assert np.load("s.npy").tolist() == [1, 1, 1] and not list(here.glob("*.part"))


FIT = [
    "--path.settle=4", "--path.screen=3", "--path.steps-per-point=1", "--path.points-per-decade=2", "--path.debias=3",
    "--path.debias-rounds=1", "--path.narrow=0", "--path.warm-up=1", "--path.rounds=1", "--null-worth=0.03",
    "--model.hidden=8", "--model.components=4",
]  # fmt: skip


def test_a_run_whose_rows_are_too_many_to_copy(here, monkeypatch, capsys):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    x, labels = np.load("x.npy").astype("float32"), np.load("labels.npy")
    for i in range(2):
        np.savez(f"part-{i}.npz", x=x[300 * i : 300 * i + 300], classes=labels[300 * i : 300 * i + 300])
    argv = ["fit", "--data.file=part-*.npz", "--data.key=x", "--data.labels=classes", "--out=run", *FIT]
    assert cli.main(argv) == 0, capsys.readouterr().err
    assert not {"held_out.x", "train.x"} & set(load_file("run/data.safetensors"))
    saved = SavedRun.load("run")
    assert len(saved.x) == 600 and np.array_equal(saved.x, x[saved.rows])
    assert np.array_equal(saved.labels, labels[saved.rows])
    assert len(Analyzer.load("run").x) == 600

    content = (here / "part-1.npz").read_bytes()
    (here / "part-1.npz").write_bytes(content[:-1] + b"?")
    with pytest.raises(
        ValueError, match=r"part-1\.npz, which has changed since: sha256 .* expected .* or look at other"
    ):
        SavedRun.load("run")
    (here / "part-1.npz").rename("moved.npz")
    with pytest.raises(FileNotFoundError, match=r"rows lie in .*part-1\.npz, which is not there any more; restore it"):
        SavedRun.load("run")
    assert len(Analyzer.load("run", x).x) == 600
