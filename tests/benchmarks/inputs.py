"""What objects of other libraries training.fit and training.as_activations take, and what they say of the rest.

    python tests/benchmarks/inputs.py

Prints one row for each library and object: taken with its shape, or the sentence. Libraries that are not
installed are named. All of them: pip install pandas polars xarray anndata h5py zarr datasets transformer_lens nnsight sae_lens
pynwb. No model or data is fetched.
"""

from __future__ import annotations

import importlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data.activations import Activations
from training.data.positions import as_activations

ROWS, COLUMNS = 200, 4
Case = tuple[str, Any]


def numbers() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS))


def of_pandas(pd: Any, _: Path) -> Iterator[Case]:
    x = numbers()
    frame = pd.DataFrame(x, columns=list("abcd"))
    yield "DataFrame", frame
    yield "DataFrame of whole numbers and floats", frame.assign(a=np.arange(ROWS))
    yield "DataFrame, nullable Float64", frame.astype("Float64")
    yield "DataFrame, pyarrow floats", frame.astype("float64[pyarrow]")
    yield "DataFrame with a missing value", frame.astype("Float64").mask(frame == frame.iloc[3, 1])
    yield "DataFrame with text", frame.assign(who="a")
    yield "DataFrame with dates", frame.assign(when=pd.date_range("2026-01-01", periods=ROWS))
    yield "DataFrame with a category", frame.assign(kind=pd.Categorical(["u"] * ROWS))
    yield "Series of arrays", pd.Series(list(x))
    yield "one column", frame["a"]


def of_polars(pl: Any, _: Path) -> Iterator[Case]:
    frame = pl.DataFrame(numbers(), schema=list("abcd"))
    yield "DataFrame", frame
    yield (
        "DataFrame with null",
        frame.with_columns(pl.when(pl.col("a") > 2).then(None).otherwise(pl.col("a")).alias("a")),
    )
    yield "DataFrame with text", frame.with_columns(pl.lit("a").alias("who"))
    yield "LazyFrame", frame.lazy()
    yield "column of arrays", pl.Series(numbers(), dtype=pl.Array(pl.Float64, COLUMNS))
    yield "column of lists", pl.Series(numbers().tolist())
    yield "one column", frame["a"]


def of_xarray(xr: Any, _: Path) -> Iterator[Case]:
    array = xr.DataArray(numbers(), dims=("time", "unit"))
    yield "DataArray", array
    yield (
        "DataArray (trial, time, unit)",
        xr.DataArray(numbers().reshape(20, 10, COLUMNS), dims=("trial", "time", "unit")),
    )
    yield "Dataset", xr.Dataset({"rates": array})


def of_anndata(ad: Any, _: Path) -> Iterator[Case]:
    from scipy.sparse import csr_matrix

    whole = ad.AnnData(numbers(), obsm={"X_pca": numbers()})
    yield "AnnData", whole
    yield ".X", whole.X
    yield ".X of a view", whole[:150].X
    yield '.obsm["X_pca"]', whole.obsm["X_pca"]
    yield ".X, sparse", ad.AnnData(csr_matrix(numbers())).X


def of_h5py(h5py: Any, folder: Path) -> Iterator[Case]:
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = numbers()
        file["deep/x"] = numbers().reshape(20, 10, COLUMNS)
        yield "Dataset", file["x"]
        yield "Dataset (20, 10, 4)", file["deep/x"]
        yield "Group", file["deep"]
        yield "File", file
    yield "Dataset of a closed file", file


def of_zarr(zarr: Any, folder: Path) -> Iterator[Case]:
    group = zarr.open_group(folder / "x.zarr", mode="w")
    group.create_array("x", data=numbers())
    yield "Array", group["x"]
    yield "Group", group


def of_datasets(datasets: Any, _: Path) -> Iterator[Case]:
    whole = datasets.Dataset.from_dict({"x": numbers().tolist(), "text": ["a"] * ROWS})
    yield "column of lists", whole["x"]
    yield "column, format numpy", whole.with_format("numpy")["x"]
    yield "column, format torch", whole.with_format("torch")["x"]
    yield "Dataset", whole
    yield "DatasetDict", datasets.DatasetDict({"train": whole})
    yield "IterableDataset", whole.to_iterable_dataset()


def of_transformer_lens(tl: Any, _: Path) -> Iterator[Case]:
    model = tiny(tl)
    tokens = torch.arange(24 * 6).reshape(24, 6) % 20
    _, cache = model.run_with_cache(tokens)
    yield "ActivationCache", cache
    yield 'cache["blocks.0.hook_resid_post"]', cache["blocks.0.hook_resid_post"]
    yield 'cache["resid_post", 0][:, -1]', cache["resid_post", 0][:, -1]


def tiny(tl: Any) -> Any:
    settings = dict(n_layers=1, d_model=8, n_ctx=16, d_head=4, n_heads=2, d_mlp=16, d_vocab=20, act_fn="relu", seed=0)
    return tl.HookedTransformer(tl.HookedTransformerConfig(**settings))


def of_nnsight(nnsight: Any, _: Path) -> Iterator[Case]:
    net = nnsight.NNsight(torch.nn.Sequential(torch.nn.Linear(COLUMNS, 6), torch.nn.Tanh()))
    with net.trace(torch.tensor(numbers()).float()):
        hidden = net[0].output.save()
        both = nnsight.save({"first": net[0].output})
    yield "saved output", hidden
    yield "saved dict", both
    yield "envoy", net[0]


def of_sae_lens(sae_lens: Any, _: Path) -> Iterator[Case]:
    import datasets
    import transformer_lens

    given = datasets.Dataset.from_dict({"input_ids": [[i % 20 for i in range(j, j + 16)] for j in range(64)]})
    names = sae_lens.ActivationsStore.__init__.__code__.co_varnames
    settings: dict[str, Any] = dict(
        model=tiny(transformer_lens), dataset=given, hook_name="blocks.0.hook_resid_post", hook_head_index=None, context_size=16,
        d_in=8, n_batches_in_buffer=2, total_training_tokens=512, store_batch_size_prompts=4, train_batch_size_tokens=32,
        prepend_bos=False,
        normalize_activations="none", device=torch.device("cpu"), dtype="float32", streaming=False, hook_layer=0,
    )  # fmt: skip
    store = sae_lens.ActivationsStore(**{name: value for name, value in settings.items() if name in names})
    yield "ActivationsStore", store
    yield "next_batch()", store.next_batch()


def of_pynwb(pynwb: Any, folder: Path) -> Iterator[Case]:
    file = pynwb.NWBFile("a session", "id", datetime(2026, 1, 1, tzinfo=UTC))
    series = pynwb.TimeSeries(name="rates", data=numbers(), unit="Hz", rate=40.0)
    file.add_acquisition(series)
    yield "TimeSeries", series
    yield "TimeSeries.data", series.data
    with pynwb.NWBHDF5IO(str(folder / "x.nwb"), "w") as out:
        out.write(file)
    with pynwb.NWBHDF5IO(str(folder / "x.nwb"), "r") as read:
        yield "TimeSeries of a file", read.read().acquisition["rates"]
        yield "TimeSeries.data of a file", read.read().acquisition["rates"].data
        yield "NWBFile", read.read()


LIBRARIES: dict[str, Callable[[Any, Path], Iterator[Case]]] = {
    name.removeprefix("of_"): made for name, made in list(globals().items()) if name.startswith("of_")
}


def outcome(take: Callable[[Any], Any], given: Any) -> str:
    """What it became, or what was said."""
    try:
        found = take(given)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"RAW {type(error).__name__}: {error}"
    if isinstance(found, dict):
        return f"taken, {len(found)} layers"
    return f"taken, {len(found)} x {found.x.shape[1]}"


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| library | object | `training.fit` | `training.as_activations`, where that differs |\n|---|---|---|---|")
    for name in sys.argv[1:] or LIBRARIES:
        try:
            library = importlib.import_module(name)
        except ModuleNotFoundError:
            print(f"| {name} | | not installed | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            for what, given in LIBRARIES[name](library, Path(folder)):
                fit, other = (outcome(take, given) for take in (Activations, as_activations))
                print(
                    f"| {name} {getattr(library, '__version__', '')} | {what} | {fit} | {other if other != fit else ''} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
