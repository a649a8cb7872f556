"""Activations: checked when made, split by source, read from files."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flows.io import files
from flows.io.rows import StoredRows
from training.data.activations import Activations, fitting, read_activations

pytestmark = pytest.mark.quick

X = np.arange(24, dtype=np.float32).reshape(8, 3)
LABELS = np.arange(8) % 2
GROUPS = np.arange(8) // 2


def test_checked_when_made():
    read_only = LABELS.astype(np.int32)
    read_only.flags.writeable = False
    activations = Activations(X, read_only, GROUPS.tolist(), "cloud")
    assert activations.x.dtype == torch.float32 and len(activations) == 8
    assert activations.labels.dtype == activations.sources.dtype == torch.int64
    assert repr(activations) == "Activations('cloud', 8 rows x 3, 2 labels, 4 sources)"
    assert Activations(X).labels is None
    assert not Activations(torch.ones(2, 2, requires_grad=True)).x.requires_grad


def ids(count, each):
    return torch.arange(count * each) // each


def test_split_by_row():
    train, held = Activations(torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))).split(0.2)
    assert len(held) == 200
    assert torch.cat([train, held]).sort().values.equal(torch.arange(1000))
    assert train.equal(train.sort().values) and held.equal(held.sort().values)


def test_split_by_source():
    sources = ids(100, 7)[torch.randperm(700, generator=torch.Generator().manual_seed(1))] * 10 - 50
    train, held = Activations(torch.zeros(700, 2), sources=sources).split(0.15)
    assert len(held) == 105
    assert torch.cat([train, held]).sort().values.equal(torch.arange(700))
    assert not set(sources[train].tolist()) & set(sources[held].tolist())


def test_split_is_a_function_of_the_seed_and_of_the_sources():
    one = Activations(torch.zeros(700, 2), sources=ids(100, 7))
    other = Activations(torch.ones(700, 5), sources=ids(100, 7))
    state = torch.get_rng_state()
    assert one.split(seed=3)[1].equal(other.split(seed=3)[1])
    assert not one.split(seed=3)[1].equal(one.split(seed=4)[1])
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("seed", range(6))
def test_split_with_one_large_source(seed):
    sources = torch.cat([torch.zeros(900, dtype=torch.int64), 1 + ids(10, 10)])
    _, held = Activations(torch.zeros(1000, 1), sources=sources).split(0.05, seed)
    assert len(held) == 50


def one_by_one(sizes, order, room):
    """The rule of the split, said slowly."""
    held = torch.zeros(len(sizes), dtype=torch.bool)
    for i in order.tolist():
        if sizes[i] <= room:
            held[i] = True
            room -= int(sizes[i])
    if not held.any():
        held[sizes.argmin()] = True
    return held


@pytest.mark.parametrize("seed", range(20))
def test_split_takes_every_source_that_still_fits(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 40, (60,), generator=generator) ** 2
    order = torch.randperm(60, generator=generator)
    for share in (0.001, 0.01, 0.15, 0.7):
        room = share * int(sizes.sum())
        assert fitting(sizes, order, room).equal(one_by_one(sizes, order, room))


def test_split_never_empty():
    train, held = Activations(torch.zeros(10, 1), sources=ids(2, 5)).split(0.1)
    assert len(train) == len(held) == 5
    with pytest.raises(ValueError, match="at least 2 sources, got 1"):
        Activations(torch.zeros(10, 1), sources=torch.zeros(10, dtype=torch.int64)).split()
    for share in (0, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="held_out must lie strictly between 0 and 1"):
            Activations(torch.zeros(10, 1)).split(share)


def write(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".pt":
        torch.save({name: torch.tensor(x) for name, x in arrays.items()}, path)
    else:
        save_file({name: torch.tensor(x) for name, x in arrays.items()}, path)
    return path


several = pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])


@several
def test_read_several_arrays(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", x=X, y=-X, labels=LABELS, groups=GROUPS)
    read = read_activations(path, "x", labels="labels", groups="groups")
    assert read.x.equal(torch.tensor(X))
    assert read.labels.tolist() == LABELS.tolist() and read.sources.tolist() == GROUPS.tolist()
    assert read.name == "a" and read.about["path"] == str(path) and read.about["files"] == {str(path): "x"}
    with pytest.raises(ValueError, match=r"holds 2 arrays that could be the activations.* pass key=, valid: x, y$"):
        read_activations(path, labels="labels", groups="groups")
    with pytest.raises(ValueError, match=r"no array 'label' in .*did you mean 'labels'\?"):
        read_activations(path, "x", labels="label")
    with pytest.raises(ValueError, match=r"no array 'z' in .*valid: .*x"):
        read_activations(path, "z")


@several
def test_the_only_array_needs_no_key(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", layer=X, labels=LABELS)
    assert read_activations(path, labels="labels").about["files"] == {str(path): "layer"}


def test_read_npy_leaves_the_file_alone(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    np.save(tmp_path / "labels.npy", LABELS)
    before = path.read_bytes()
    read = read_activations(str(path), labels=str(tmp_path / "labels.npy"))
    assert read.x.equal(torch.tensor(X)) and read.labels.tolist() == LABELS.tolist()
    read.x[0, 0] = 99
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"no array 'y' in .*valid: x"):
        read_activations(path, "y")


def test_large_files_stay_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", X.nbytes - 1)
    np.save(tmp_path / "x.npy", X)
    read = read_activations(tmp_path / "x.npy")
    assert isinstance(read.x, StoredRows) and isinstance(read.x.pieces[0], np.memmap)
    assert repr(read) == "Activations('x', 8 rows x 3)"
    assert np.array_equal(read.x, X)
    mapped = Activations(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert isinstance(mapped.x, StoredRows) and np.array_equal(mapped.x, X)
    monkeypatch.setattr(files, "IN_MEMORY", X.nbytes)
    assert isinstance(read_activations(tmp_path / "x.npy").x, torch.Tensor)


def test_read_bare_tensor(tmp_path):
    torch.save(torch.tensor(X), tmp_path / "x.pt")
    assert read_activations(tmp_path / "x.pt").x.equal(torch.tensor(X))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds 0 arrays"):
        read_activations(tmp_path / "list.pt")


def test_flipped_bit_in_npz(tmp_path):
    path = write(tmp_path / "x.npz", x=X)
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as \.npz: BadZipFile"):
        read_activations(path)


def test_time_stamps_are_centred_before_they_are_floats(tmp_path):
    x = 10**18 + np.arange(800, dtype=np.int64).reshape(400, 2)
    np.save(tmp_path / "a.npy", x[:100])
    np.save(tmp_path / "b.npy", x[100:])
    for cloud in (Activations(x), read_activations(tmp_path / "*.npy")):
        assert cloud.x.dtype == torch.float32 and len(cloud.x.unique(dim=0)) == 400
        assert cloud.about["offset"] == [10**18, 10**18 + 1]
        assert "offset" not in Activations(x - 10**18).about


def test_ids_on_disk_stay_apart_or_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    x = 2**25 + np.arange(800, dtype=np.int32).reshape(400, 2)
    np.save(tmp_path / "x.npy", x)
    assert len(read_activations(tmp_path / "x.npy").x[:].unique()) == 800
    np.save(tmp_path / "x.npy", x.astype(np.int64) + 2**60)
    with pytest.raises(ValueError, match="activations on disk hold whole numbers beyond 2"):
        read_activations(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["cat", "dog"] * 4,
            r"labels must be integers, got str; number them: np.unique\(labels, return_inverse=True\)",
        ),
        (np.array(["cat", None] * 4, dtype=object), "got str; number them"),
        (np.arange(8.0), "got whole numbers as torch.float64; pass them as int64"),
        (np.arange(8) / 3, "got torch.float64; number them first"),
    ],
)
def test_labels_that_are_no_integers_say_how(labels, message):
    with pytest.raises(TypeError, match=message):
        Activations(X, labels)


def test_a_folder_with_brackets_in_its_name(tmp_path):
    folder = tmp_path / "run [1]"
    folder.mkdir()
    for i in range(2):
        np.save(folder / f"part-{i}.npy", X)
    assert len(read_activations(folder / "part-0.npy")) == 8
    assert len(read_activations(folder / "part-*.npy")) == 16
