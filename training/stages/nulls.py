"""The null: what a dimension seems to be worth when the rows are Gaussian noise and nothing else.

lambda_null = 1.25 x the largest worth over five runs on Gaussian rows of the same (rows, dimensions, settings), but never
below ``screen_lam``, under which the path resolves nothing. Every null measured so far lay below that: J_0 starts as the
Gaussian fit itself, a worth is read off held-out rows, and what overfits gets worse there. So where no null of a size is known,
``screen_lam`` is the threshold, and chance is left to the standard error of a worth (training.stages.selection.choose).
It calibrates against *Gaussian* noise only: bent noise has a positive worth at finite kappa.
"""

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from training.settings import ModelSettings, PathSettings

RUNS = 5
MOST_ROWS = 200_000
MARGIN = 1.25
_TABLE = Path(__file__).with_name("null_table.json")
# a null measured before there was such a setting is one at its default
_ADDED_LATER = {"objective": "likelihood", "augment": 0, "retries": 3, "energy": "whitened", "few_rows": 4000}
_OF_THE_DATA = ("front", "keep", "largest_loss", "least_agreement")  # which directions enter: a null has no others
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Null:
    """The null threshold.

    Attributes:
        threshold: lambda_null in nats.
        largest: the largest worth over the null runs; nan where there were none.
        source: "table", "cache", "run", "given", or "resolution": the least that the path resolves.
        rows, dims: of the null runs.
    """

    threshold: float
    largest: float
    source: str
    rows: int
    dims: int


def find_null(rows: int, dims: int, model: ModelSettings, path: PathSettings, null: str | float) -> Null:
    """The null threshold for ``rows`` training rows in ``dims`` dimensions.

    A null measured at the same settings serves row counts within a factor 1.5 and dimensions within 1.25, and one of
    200 000 rows any larger number: what noise seems worth is overfitting, and more rows make that no worse.

    Args:
        null: "auto" looks in the shipped table, then in the cache, else takes what the path resolves; "run" makes five fits to
            Gaussian rows and caches what they say; a number is used.

    Raises:
        ValueError: another word, or a number that is not positive.
    """
    check(null)
    if not isinstance(null, str):
        return Null(float(null), float("nan"), "given", rows, dims)
    key, rows = fingerprint(model, path), min(rows, MOST_ROWS)
    for source, file in (("table", _TABLE), ("cache", cache_file())) if null == "auto" else ():
        cell = _nearest(_read(file), key, rows, dims)
        if cell:
            return _null(cell, path, source)
    if null == "auto":
        return Null(path.screen_lam, float("nan"), "resolution", rows, dims)
    _log.info("running %d null fits of %d rows x %d dimensions", RUNS, rows, dims)
    cell = {"settings": key, "rows": rows, "dims": dims, "worths": measure(rows, dims, model, path)}
    _log.info(
        "largest worth per run: %s nats; cached in %s", ", ".join(f"{w:.4f}" for w in cell["worths"]), cache_file()
    )
    _add_to_cache(cell)
    return _null(cell, path, "run")


def check(null: str | float) -> None:
    """Raise ValueError unless ``null`` is "auto", "run" or a positive finite number of nats."""
    if null in ("auto", "run") or (not isinstance(null, str) and 0 < null < float("inf")):
        return
    raise ValueError(f"null_worth must be a positive number of nats, 'auto' or 'run', got {null!r}")


def measure(rows: int, dims: int, model: ModelSettings, path: PathSettings, runs: int = RUNS) -> list[float]:
    """Largest worth per dimension found in each of ``runs`` fits on Gaussian rows."""
    from training.data.activations import Activations
    from training.data.preparing import prepare
    from training.fitting import run

    everything = replace(path, narrow=0)
    worths = []
    for seed in range(runs):
        generator = torch.Generator().manual_seed(10_000 + seed)
        x = torch.randn(round(rows / (1 - path.held_out)), dims, generator=generator)
        result = run(prepare(Activations(x), model, everything, seed), model, everything, seed, path.screen_lam)
        base = result.J[0]
        worths.append(max(((base - J) / k for k, J in result.J.items() if k), default=0.0))
    return worths


def fingerprint(model: ModelSettings, path: PathSettings) -> str:
    """Identifies the settings that a null depends on; one added later leaves it as it was while at its default."""
    settings = {"model": asdict(replace(model, columns="set-aside")), "path": asdict(replace(path, narrow=0))}
    settings = {
        part: {n: v for n, v in held.items() if _ADDED_LATER.get(n) != v and n not in _OF_THE_DATA}
        for part, held in settings.items()
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def cache_file() -> Path:
    """Where nulls measured on this machine are kept: under UNKNOT_CACHE, else XDG_CACHE_HOME, else ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("UNKNOT_CACHE") or Path(home) / "unknot") / "nulls.json"


def _null(cell: dict, path: PathSettings, source: str) -> Null:
    largest = max(cell["worths"])
    return Null(max(MARGIN * largest, path.screen_lam), largest, source, cell["rows"], cell["dims"])


def _nearest(cells: list[dict], key: str, rows: int, dims: int) -> dict | None:
    def ratio(a: float, b: float) -> float:
        return max(a, b) / min(a, b)

    near = [
        c for c in cells if c["settings"] == key and ratio(c["rows"], rows) <= 1.5 and ratio(c["dims"], dims) <= 1.25
    ]
    return min(near, key=lambda c: ratio(c["rows"], rows) * ratio(c["dims"], dims), default=None)


def _read(file: Path) -> list[dict]:
    try:
        return json.loads(file.read_text(encoding="utf8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        _log.warning("cannot read the null table %s (%s); going on without it", file, error)
        return []


def _add_to_cache(cell: dict) -> None:
    file = cache_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps([*_read(file), cell]), encoding="utf8")
        partial.replace(file)
    except OSError as error:
        _log.warning("cannot cache the null in %s (%s)", file, error)
