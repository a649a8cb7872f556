"""The notebook beside the README: what its builder would write, executed without an error."""

import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def tour(monkeypatch):
    pytest.importorskip("nbclient")
    monkeypatch.syspath_prepend(BENCHMARKS)
    sys.modules.pop("tour", None)
    import tour

    return tour


def test_the_notebook_is_what_its_builder_says_and_was_executed(tour):
    stored = nbformat.read(tour.NOTEBOOK, as_version=4)
    assert [(c.cell_type, c.source) for c in stored.cells] == [(c.cell_type, c.source) for c in tour.build().cells]
    assert tour.NOTEBOOK.stat().st_size < 300 * 1024
    for cell in stored.cells:
        if cell.cell_type == "code":
            assert cell.execution_count
            assert not [output for output in cell.outputs if output.output_type == "error"]


@pytest.mark.slow
def test_the_notebook_runs(tour):
    executed = tour.execute(tour.build())
    printed = "".join(o.text for c in executed.cells if c.cell_type == "code" for o in c.outputs if "text" in o)
    assert "(1, 1)" in printed
