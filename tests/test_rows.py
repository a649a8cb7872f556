"""Rows that are not in memory: the same numbers as in memory, in the front, in batches and in a whole run."""

import numpy as np
import pytest
import torch

from flows import FunnelFlow
from flows.geometry.moments import Moments
from flows.io import files, rows
from flows.io.rows import Picked, StoredRows, chunks
from training.data.activations import Activations, read_activations
from training.data.batches import StepBatches
from training.data.preparing import MOST_HELD_OUT, prepare
from training.data.whitening import White, whitened
from training.fitting import run
from training.runtime.checkpoints import Checkpoint, StoppedError
from training.settings import ModelSettings, PathSettings

pytestmark = pytest.mark.quick

X = torch.arange(60.0).reshape(20, 3)


@pytest.fixture
def on_disk(monkeypatch):
    """Every file counts as large."""
    monkeypatch.setattr(files, "IN_MEMORY", 0)


def stored(tmp_path, x, shards=3, dtype=np.float32):
    for i, part in enumerate(np.array_split(np.asarray(x), shards)):
        np.save(tmp_path / f"part-{i}.npy", part.astype(dtype))
    return StoredRows([np.load(tmp_path / f"part-{i}.npy", mmap_mode="r") for i in range(shards)])


@pytest.mark.parametrize("shards", [1, 3])
def test_indexed_like_a_tensor(tmp_path, shards):
    found = stored(tmp_path, X, shards)
    assert (found.shape, found.dtype, len(found)) == ((20, 3), torch.float32, 20)
    for index in (
        slice(None),
        slice(5, 9),
        slice(0, 0),
        slice(2, 19, 4),
        slice(15, 99),
        torch.tensor([19, 0, 7, 7, 13]),
    ):
        assert found[index].equal(X[index]), index
    assert np.array_equal(np.asarray(found), X.numpy())
    assert repr(found) == "StoredRows(20 rows x 3)"
    picked = Picked(found, torch.tensor([3, 18, 4]))
    assert picked[:].equal(X[[3, 18, 4]]) and picked[torch.tensor([1])].equal(X[18:19])
    for wrong in ([20], [-1]):
        with pytest.raises(IndexError, match=r"must lie in \[0, 20\)"):
            found[torch.tensor(wrong)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", "int16", "uint8"])
def test_every_dtype_comes_back_as_a_float(tmp_path, dtype):
    found = stored(tmp_path, X, 2, dtype)
    assert found.dtype == (torch.float64 if dtype.endswith(("64", "f8")) else torch.float32)
    assert found[:].dtype == found.dtype and found[:].equal(X.to(found.dtype))


def test_what_was_read_is_a_copy(tmp_path):
    found = stored(tmp_path, X, 1)
    found[:][0] = 99
    assert found[:].equal(X)


def test_memory_that_was_read_is_handed_back(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1 << 20, 16), dtype=np.float32))  # 64 MiB
    found = StoredRows([np.load(tmp_path / "x.npy", mmap_mode="r")])

    def resident():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssFile")) // 1024

    before = resident()
    for chunk in found.take(torch.arange(0, 1 << 20, 4)).split(1 << 16):
        chunk.sum()
    assert resident() - before < 32, "MiB of the file's pages are still mapped"


def test_a_private_map_keeps_the_changes_that_its_owner_made(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[4] = -1
    assert StoredRows([mapped])[:][4].tolist() == [-1, -1, -1]
    assert StoredRows([mapped])[:][4].tolist() == [-1, -1, -1]


def test_chunks_cover_the_rows_once(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 21)
    assert [len(chunk) for chunk in chunks(stored(tmp_path, X))] == [7, 7, 6]
    assert torch.cat(list(chunks(X))).equal(X)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_of_chunks_are_those_of_the_whole(monkeypatch, offset):
    x = torch.randn(1000, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
    x[500:] *= 3
    x += offset
    whole = Moments.of(x)
    monkeypatch.setattr(rows, "CHUNK", 4 * 37)
    parts = Moments.of(x)
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-14, atol=1e-13)
    torch.testing.assert_close(parts.covariance, whole.covariance, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(whole.covariance, x.T.cov(correction=0), rtol=1e-9, atol=1e-9)


def test_odd_columns_of_chunks(monkeypatch):
    """Columns that are equal or constant in the first chunk only are neither."""
    x = torch.randn(100, 7)
    x[:, 1] = 5
    x[:50, 2] = 5
    x[:, 4] = x[:, 6] = x[:, 3]
    x[:, 5] = x[:, 3]
    x[70:, 5] = x[70:, 6] = torch.randn(30)
    monkeypatch.setattr(rows, "CHUNK", 7 * 20)
    found = Moments.of(x)
    assert found.constant.tolist() == [False, True, False, False, False, False, False]
    assert found.twin_of.tolist() == [0, 1, 2, 3, 3, 5, 5]


@pytest.mark.filterwarnings("ignore:set aside")
def test_the_front_of_stored_rows(tmp_path, monkeypatch):
    x = torch.randn(3000, 5) @ torch.randn(5, 5) + 100
    x[:, 2].clamp_min_(100)
    x[:, 3] = x[:, 0]
    whole = FunnelFlow.from_rows(x).front
    monkeypatch.setattr(rows, "CHUNK", 5 * 700)
    parts = FunnelFlow.from_rows(stored(tmp_path, x)).front
    assert (parts.used, parts.dims) == (whole.used, whole.dims) == (4, 4)
    for name in ("columns", "twin_of", "jittered", "mean", "scales", "floor"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=0)
    assert whole.jittered.tolist() == [False, False, True, False, False]


def test_rows_that_are_not_finite_are_named_across_chunks(tmp_path, monkeypatch, on_disk):
    monkeypatch.setattr(rows, "CHUNK", 3 * 4)
    x = X.clone()
    x[[2, 9, 10, 19]] = torch.nan
    np.save(tmp_path / "x.npy", x.numpy())
    with pytest.raises(ValueError, match=r"NaN or inf in 4 of 20 rows \(first: 2, 9, 10, 19\)"):
        read_activations(tmp_path / "x.npy")


def test_white_rows_are_those_in_memory(tmp_path):
    x = torch.randn(500, 3) @ torch.randn(3, 3)
    x[:, 0].clamp_min_(0)
    front = FunnelFlow.from_rows(x).front
    in_memory = whitened(front, x, torch.Generator().manual_seed(1))
    streamed = whitened(front, stored(tmp_path, x), torch.Generator().manual_seed(1))
    assert isinstance(in_memory, torch.Tensor) and isinstance(streamed, White)
    torch.testing.assert_close(streamed[:], in_memory, rtol=1e-6, atol=1e-6)
    some = torch.tensor([499, 3, 3])
    torch.testing.assert_close(streamed[some], in_memory[some], rtol=1e-6, atol=1e-6)
    assert streamed[some].equal(streamed[some]), "jitter belongs to the row"
    left = in_memory[:, :] - front.whiten(x)
    assert 0 < left.abs().max() < 10, "and is there"


MODEL = ModelSettings(components=4, hidden=8)
PATH = PathSettings(
    settle=4, screen=3, steps_per_point=1, points_per_decade=2, debias=3, debias_rounds=2, narrow=4, warm_up=1, rounds=1,
    batch=64, largest_lam=10.0, exit_lr=0.1,
)  # fmt: skip


def prepared(tmp_path):
    return prepare(read_activations(tmp_path / "part-*.npy"), MODEL, PATH, 0)


class StopAt(Checkpoint):
    def save(self, trainer):
        super().save(trainer)
        if trainer.global_step == self.every:
            raise StoppedError("stopped")


def test_a_run_on_stored_rows_is_repeated_and_resumed_bit_for_bit(tmp_path, on_disk, untouched_rng):
    stored(tmp_path, torch.randn(400, 3, generator=torch.Generator().manual_seed(0)).abs())
    with untouched_rng():
        whole = run(prepared(tmp_path), MODEL, PATH, 0, 0.03)
    with pytest.raises(StoppedError):
        run(prepared(tmp_path), MODEL, PATH, 0, 0.03, [StopAt(tmp_path / "a.ckpt", every=6)])
    resumed = run(prepared(tmp_path), MODEL, PATH, 0, 0.03, resume=tmp_path / "a.ckpt")
    assert resumed.steps == whole.steps
    for name, tensor in whole.flow.state_dict().items():
        assert torch.equal(resumed.flow.state_dict()[name], tensor), name
    assert np.array_equal(resumed.path, whole.path)


def test_batches_of_stored_rows_are_those_in_memory(tmp_path):
    found = stored(tmp_path, X)
    for one, other, _ in zip(StepBatches(found, 4, seed=3), StepBatches(X, 4, seed=3), range(9), strict=False):
        assert one.equal(other)


def test_held_out_rows_are_capped_and_it_is_said(monkeypatch):
    monkeypatch.setattr("training.data.preparing.MOST_HELD_OUT", 20)
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    ready = prepare(Activations(x), MODEL, PATH, 0)
    assert len(ready.held_out) == len(ready.data.held_out) == 20 and len(ready.train) == 340
    assert "measured on 20 of 60 held-out rows, drawn by seed 0" in ready.notes
    assert MOST_HELD_OUT == 100_000
