"""The null threshold: where it is looked up, when it is measured, how it is cached."""

import json
from pathlib import Path

import pytest

from training.settings import ModelSettings, PathSettings
from training.stages import nulls
from training.stages.nulls import MARGIN, find_null, fingerprint

pytestmark = pytest.mark.quick

MODEL, PATH = ModelSettings(), PathSettings()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNKNOT_CACHE", str(tmp_path))
    monkeypatch.setattr(nulls, "_TABLE", tmp_path / "table.json")
    return tmp_path


def put(file, **changes):
    cell = {"settings": fingerprint(MODEL, PATH), "rows": 1000, "dims": 8, "worths": [0.01, 0.05], **changes}
    file.write_text(json.dumps([cell]))


def test_a_number_is_taken_as_it_is():
    null = find_null(1000, 8, MODEL, PATH, 0.2)
    assert (null.threshold, null.source) == (0.2, "given")


@pytest.mark.parametrize("wrong", [0.0, -1.0, "table"])
def test_other_thresholds_are_refused(wrong):
    with pytest.raises(ValueError, match="null_worth must be a positive number"):
        find_null(1000, 8, MODEL, PATH, wrong)


def test_the_table_serves_nearby_shapes(own_cache):
    put(own_cache / "table.json")
    null = find_null(1400, 9, MODEL, PATH, "auto")
    assert null.source == "table"
    assert null.threshold == pytest.approx(MARGIN * 0.05)


def test_the_path_resolves_nothing_below_its_screen(own_cache):
    put(own_cache / "table.json", worths=[0.001])
    assert find_null(1000, 8, MODEL, PATH, "auto").threshold == PATH.screen_lam


@pytest.mark.parametrize("shape", [(1600, 8), (1000, 11)])
def test_elsewhere_it_is_what_the_path_resolves_until_it_is_measured_and_cached(own_cache, monkeypatch, shape):
    put(own_cache / "table.json")
    calls = []
    monkeypatch.setattr(nulls, "measure", lambda *args: calls.append(args) or [0.1])
    found = find_null(*shape, MODEL, PATH, "auto")
    assert (found.source, found.threshold) == ("resolution", PATH.screen_lam) and not calls
    assert find_null(*shape, MODEL, PATH, "run").source == "run"
    assert find_null(*shape, MODEL, PATH, "auto").source == "cache"
    assert len(calls) == 1


def test_one_null_serves_all_larger_numbers_of_rows(own_cache, monkeypatch):
    put(own_cache / "table.json", rows=200_000)
    assert find_null(10_000_000, 8, MODEL, PATH, "auto").source == "table"
    measured = []
    monkeypatch.setattr(nulls, "measure", lambda rows, *_: measured.append(rows) or [0.1])
    find_null(10_000_000, 8, MODEL, PATH, "run")
    assert measured == [200_000], "null rows are made in memory"


def test_other_settings_have_their_own_null(own_cache):
    put(own_cache / "table.json")
    assert find_null(1000, 8, ModelSettings(kappa=2.0), PATH, "auto").source == "resolution"
    assert find_null(1000, 8, ModelSettings(front="principal", keep=8), PATH, "auto").source == "table"


def test_a_broken_table_is_reported_not_fatal(own_cache, caplog):
    (own_cache / "table.json").write_text("{")
    assert find_null(1000, 8, MODEL, PATH, "auto").source == "resolution"
    assert "cannot read the null table" in caplog.text


def test_the_shipped_table_is_of_the_default_settings():
    shipped = json.loads((Path(nulls.__file__).parent / "null_table.json").read_text())
    assert {cell["settings"] for cell in shipped} == {fingerprint(MODEL, PATH)}
    assert fingerprint(ModelSettings(augment=1), PATH) != fingerprint(MODEL, PATH)
