"""What users hand in: good rows in every container, and each kind of bad rows with an error that says what to do."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flows.io.inputs import as_rows, as_tensor, centred, nearest
from training.data.positions import as_activations

pytestmark = pytest.mark.quick

GOOD = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", ">f4", ">i2"])
def test_numpy_dtypes(dtype):
    rows = as_rows(np.array(GOOD, dtype=dtype))
    assert rows.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert rows.tolist() == GOOD


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int32])
def test_torch_dtypes(dtype):
    rows = as_rows(torch.tensor(GOOD, dtype=dtype))
    assert rows.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert rows.tolist() == GOOD


def test_lists_views_and_memmaps(tmp_path):
    assert as_rows(GOOD).tolist() == GOOD
    assert as_rows(np.array(GOOD)[::-1]).tolist() == GOOD[::-1]
    np.save(tmp_path / "x.npy", np.array(GOOD))
    for mode in ("r", "c"):
        assert as_rows(np.load(tmp_path / "x.npy", mmap_mode=mode)).tolist() == GOOD


def test_read_only_memory_is_never_shared():
    x = np.array(GOOD)
    x.flags.writeable = False
    as_rows(x)[0, 0] = 9
    assert x[0, 0] == 1


def test_shares_memory_and_gradients_where_it_can():
    x = torch.ones(3, 2, requires_grad=True)
    assert as_rows(x) is x
    array = np.ones((3, 2), dtype=np.float32)
    assert as_rows(array).data_ptr() == array.ctypes.data


@pytest.mark.parametrize(
    "bad",
    [
        np.ones((3, 2), dtype=bool),
        torch.ones(3, 2, dtype=torch.bool),
        np.array(GOOD, dtype=object),
        np.array([["a", "b"]]),
        [["a", "b"]],
        np.array(GOOD, dtype=complex),
        torch.tensor(GOOD).to_sparse(),
        np.ma.masked_array(np.array(GOOD), mask=np.array(GOOD) > 5),
        [[1.0, 2.0], [3.0]],
        {"x": GOOD},
        None,
    ],
    ids=lambda bad: f"{type(bad).__name__}-{getattr(bad, 'dtype', '')}",
)
def test_wrong_kinds(bad):
    with pytest.raises(TypeError, match=r"state must be .*, got .*; (pass|convert|drop)"):
        as_rows(bad, name="state")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_wrong_number_of_axes(shape):
    with pytest.raises(ValueError, match=r"2 axes \(rows, features\), got shape"):
        as_rows(torch.ones(shape))


def test_wrong_sizes():
    assert as_rows(torch.ones(3, 2), width=2, min_rows=3).shape == (3, 2)
    with pytest.raises(ValueError, match=r"must have 5 columns, got 2 \(shape \(3, 2\)\)"):
        as_rows(torch.ones(3, 2), width=5)
    with pytest.raises(ValueError, match="at least 4 rows, got 3"):
        as_rows(torch.ones(3, 2), min_rows=4)
    with pytest.raises(ValueError, match="at least 1 rows, got 0"):
        as_rows(np.empty((0, 2)))
    with pytest.raises(ValueError, match="at least 1 column"):
        as_rows(np.empty((3, 0)))
    assert as_rows(torch.ones(3, 0), width=0).shape == (3, 0)  # a flow without structure


def test_rows_that_are_not_finite_are_named():
    x = torch.zeros(4096, 3)
    x[17, 0], x[204, 2], x[990, 1] = torch.nan, torch.inf, -torch.inf
    message = r"activations contain NaN or inf in 3 of 4096 rows \(first: 17, 204, 990\); drop those rows first"
    with pytest.raises(ValueError, match=message):
        as_rows(x)
    with pytest.raises(ValueError, match=r"8 of 8 rows \(first: 0, 1, 2, 3, 4\)"):
        as_rows(torch.full((8, 1), torch.nan))


def test_too_large_for_float32_is_not_finite():
    with pytest.raises(ValueError, match="NaN or inf in 1 of 1 rows"):
        as_rows([[1e300]])


def test_nearest():
    assert nearest("DIGIT", ["circle", "digits"]) == "did you mean 'digits'? valid: circle, digits"
    assert nearest("zzz", ["circle", "digits"]) == "valid: circle, digits"
    assert nearest("x", []) == "valid: none"
    assert nearest("q", map(str, range(20)), shown=2) == "valid: 0, 1, ... (20 in all)"


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_whole_numbers_beyond_float32_stay_apart(dtype):
    x = np.array([[2**24 + i, 3] for i in range(5)], dtype=dtype)
    found = as_rows(x)
    assert found.dtype == torch.float64 and found[:, 0].tolist() == [2**24 + i for i in range(5)]
    assert as_rows((x - 2**24) % 7).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_whole_numbers_beyond_float64_are_refused_or_centred(dtype):
    x = np.array([[10**18 + i, 5] for i in range(80)], dtype=dtype)
    with pytest.raises(ValueError, match=r"whole numbers up to 1e\+18.* take an offset off first"):
        as_rows(x)
    found, low = centred(as_tensor(x, "x"))
    assert found[:, 0].tolist() == list(range(80)) and low == [10**18, 5]
    assert centred(torch.arange(6).reshape(3, 2))[1] == []
    with pytest.raises(ValueError, match="spread over more than 2"):
        centred(torch.tensor([[2**62], [-(2**62)]]))


def test_the_largest_uint64():
    found, low = centred(as_tensor(np.array([[2**64 - 1], [2**64 - 3]], dtype=np.uint64), "x"))
    assert found.tolist() == [[2], [0]] and low == [2**64 - 3]


def test_sparse_matrices_say_how():
    from scipy import sparse

    with pytest.raises(TypeError, match=r"must be a dense array, got a sparse csr_matrix; pass x.toarray\(\)"):
        as_rows(sparse.csr_matrix(np.eye(3)))


class Table:
    """As a data frame with a column of text."""

    def __array__(self):
        return np.array([["a", 1.0], ["b", 2.0]], dtype=object)

    def to_numpy(self):
        return self.__array__()


class Frame(Table):
    def __array__(self):
        return np.arange(6.0).reshape(3, 2)


class Annotated:
    X = np.ones((3, 2))


class Proxy:
    value = torch.ones(3, 2)


def test_what_exposes_an_array_goes_in():
    assert torch.equal(as_rows(Frame()), torch.arange(6.0, dtype=torch.float64).reshape(3, 2))


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (Table(), "choose the columns of numbers and pass their .to_numpy()"),
        ({"blocks.0.hook_resid_post": torch.ones(3, 2)}, "pass one of its entries by name: blocks.0.hook_resid_post"),
        (Annotated(), "pass its .X, the matrix of an AnnData"),
        (Proxy(), "pass its .value, the tensor of a saved proxy"),
        (object(), "pass a tensor or numpy array of numbers"),
    ],
)
def test_containers_say_the_way_in(given, way):
    with pytest.raises(TypeError, match=r"activations must be an array of numbers, got .*" + re.escape(way)):
        as_rows(given)


# objects of other libraries; tests/benchmarks/inputs.py prints all of them


def test_pandas_frames_of_numbers_go_in_and_others_name_the_way():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "b"])
    for numbers in (frame, frame.astype("Float64"), frame.astype({"a": "Int64"})):
        assert as_rows(numbers).tolist() == frame.to_numpy().tolist()
    with pytest.raises(ValueError, match="NaN or inf in 1 of 3 rows .first: 1."):
        as_rows(frame.astype("Float64").mask(frame == 2.0))
    with pytest.raises(TypeError, match=r'got DataFrame, an array of dtype object; .*x.select_dtypes\("number"\)'):
        as_rows(frame.assign(who="1.5"))
    with pytest.raises(TypeError, match=r"np.stack\(list\(x\)\)"):
        as_rows(pd.Series(list(frame.to_numpy())))


def test_polars_frames_go_in_and_others_name_the_way():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(np.arange(6.0).reshape(3, 2), schema=["a", "b"])
    assert as_rows(frame).tolist() == [[0, 1], [2, 3], [4, 5]]
    for other in (frame.lazy(), frame.with_columns(pl.lit("a").alias("who"))):
        with pytest.raises(TypeError, match=r"x.select\(polars.selectors.numeric\(\)\), with .collect\(\)"):
            as_rows(other)


def test_xarray_and_hdf5_arrays_go_in_and_groups_name_their_entries(tmp_path):
    xr, h5py = pytest.importorskip("xarray"), pytest.importorskip("h5py")
    array = xr.DataArray(np.ones((3, 2)), dims=("time", "unit"))
    assert as_rows(array).tolist() == [[1, 1]] * 3
    with pytest.raises(TypeError, match="pass one of its entries by name: rates"):
        as_rows(xr.Dataset({"rates": array}))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.ones((3, 2))
        assert as_rows(file["x"]).tolist() == [[1, 1]] * 3
        with pytest.raises(TypeError, match="pass one of its entries by name: x"):
            as_rows(file)


class View(np.ndarray):
    """As the matrix of a view of an AnnData: dense, with a method of sparse ones."""

    def toarray(self):
        return np.asarray(self)


class Column:
    """As a column of a Hugging Face dataset, whose rows are made when they are asked for."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def test_a_dense_view_and_a_column_of_lists_go_in():
    assert as_rows(np.ones((3, 2)).view(View)).tolist() == as_rows(Column([[1.0, 1.0]] * 3)).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (Column([torch.ones(2)] * 3), "pass torch.stack(list(x))"),
        (SimpleNamespace(column_names=["x", "text"]), "pass one of its columns: x, text"),
        (SimpleNamespace(next_batch=None), "pass its next_batch(), or several"),
        (SimpleNamespace(data=np.ones((3, 2)), rate=40.0), "pass its .data, the array of a series"),
        (SimpleNamespace(acquisition={}), "x.acquisition[name].data"),
        (SimpleNamespace(output=torch.ones(3, 2)), "pass its .output, saved within a trace"),
    ],
)
def test_what_other_libraries_wrap_their_arrays_in(given, way):
    for take in (as_rows, as_activations):
        with pytest.raises(TypeError, match=re.escape(way)):
            take(given)


def test_a_table_is_one_cloud_and_a_cache_names_the_layer_that_is_not_finite():
    pd = pytest.importorskip("pandas")
    assert as_activations(pd.DataFrame(np.ones((3, 2)))).x.shape == (3, 2)
    cache = {"resid": torch.ones(3, 2), "scores": torch.full((3, 2), -torch.inf)}
    with pytest.raises(ValueError, match=r"layer 'scores' contains NaN or inf in 3 of 3 rows .*for name in \(\.\.\.\)"):
        as_activations(cache)
