"""Figures: what they say, that they take the axes they are given, and that nothing global is touched."""

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

import flows
from training.figures import run as figures
from training.stages.ladder import Ladder
from training.stages.selection import choose

DIMS = 5


@pytest.fixture(params=[0, 3], ids="k={}".format)
def result(request: pytest.FixtureRequest) -> SimpleNamespace:
    """What the figures read of a FitResult: ``k`` dimensions that leave at 1, 2, ... nats, dearest last."""
    k, generator = request.param, np.random.default_rng(0)
    flow = flows.FunnelFlow(DIMS, seed=7).requires_grad_(False)
    flow.exits.set_open(torch.arange(DIMS) >= DIMS - k)
    flow.order.copy_(torch.arange(DIMS).flip(0))
    lams = [0.0, 0.03, *(np.geomspace(0.03, 9, 30) if k else [])]
    kinds = [("stage", "U8"), ("lam", "f8"), ("k", "i8"), ("gates", "f8", (DIMS,))]
    stages = ["settle", "screen", *["ramp"] * 30]
    gates = [(np.arange(DIMS) - (DIMS - k) + 1 > lam).astype(float) for lam in lams]
    path = np.array([(s, lam, g.sum(), g) for s, lam, g in zip(stages, lams, gates, strict=False)], dtype=kinds)
    rows = generator.normal(size=200)
    J = {j: rows + 9 - sum(1 / (i + 1) for i in range(j)) + 0.01 * generator.normal(size=200) for j in range(k + 1)}
    J[k + 1] = J[k] + 0.1
    choice = choose(J, 0.03)
    return SimpleNamespace(
        flow=flow,
        path=path,
        hull=choice.hull,
        ladder=Ladder.of(choice.hull, k, 0.03, flow.front),
        J={j: float(v.mean()) for j, v in J.items()},
        null_worth=0.03,
        kl=None,
        structure_dim=k,
        confidence=0.5,
        stability=0.9,
        train=np.arange(850),
        held_out=np.arange(150),
    )


@pytest.fixture
def history() -> list[dict]:
    stages = ["settle"] * 3 + ["screen"] * 2 + ["ramp"] * 4
    return [{"step": 20 * i, "stage": s, "nll": 5 - 0.1 * i, "kinetic": 0.1 * i} for i, s in enumerate(stages)]


def words(figure: Figure) -> str:
    """All text of a figure."""
    return "\n".join(t.get_text() for t in figure.findobj(Text))


def settings() -> dict:
    """matplotlib's global settings but for the backend, which is resolved when first read."""
    return {k: v for k, v in matplotlib.rcParams.items() if k != "backend"}


def nothing_clipped(figure: Figure) -> bool:
    """Whether the canvas has a white frame: what runs over its edge colours it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    return all((edge == 255).all() for edge in (image[0], image[-1], image[:, 0], image[:, -1]))


def test_path_shows_gates_k_and_null(result: SimpleNamespace) -> None:
    ax = figures.plot_path(result)
    text, k = words(ax.figure), result.structure_dim
    assert f"k = {k}" in ax.get_title() and "lambda (nats)" in text and "n = 850 + 150 held out, seed 7" in text
    coloured = [line for line in ax.lines if line.get_label().startswith("s")]
    assert [line.get_label() for line in coloured] == [f"s{j + 1}" for j in range(k)]
    assert len(ax.lines) == DIMS + 1
    if k:
        # the dearest is the flow's last dimension, and only the ramp is drawn
        np.testing.assert_array_equal(coloured[0].get_ydata(), result.path["gates"][2:, -1])
        np.testing.assert_array_equal(ax.figure.axes[1].lines[0].get_ydata(), result.path["k"][2:])
    assert ax.lines[-1].get_xdata()[0] == result.null_worth
    assert ax.get_xscale() == "log" and nothing_clipped(ax.figure)


def test_hull_names_worths_and_intervals(result: SimpleNamespace) -> None:
    ax = figures.plot_hull(result)
    strip, text = ax.figure.axes[1], words(ax.figure)
    for below, vertex in itertools.pairwise(result.hull):
        assert f"{vertex.k - below.k} x {vertex.worth:.3f} ± {vertex.worth_se:.3f}" in text
    assert f"k = {result.structure_dim}" in ax.get_title() and ("clear rung" in text) == (result.structure_dim > 0)
    dotted = [line.get_xdata()[0] for line in strip.lines]
    assert dotted == ([] if result.ladder.lam is None else [result.ladder.lam])
    assert "null 0.030" in ax.get_title() and "nats per row" in text
    assert [t.get_text() for t in strip.get_yticklabels()] == [f"k = {v.k}" for v in result.hull]
    for bar, vertex in zip(strip.patches, result.hull, strict=False):
        if np.isfinite(vertex.high):
            assert bar.get_x() + bar.get_width() == pytest.approx(vertex.high)
        assert bar.get_x() == pytest.approx(max(vertex.low, strip.get_xlim()[0]))
    grey = next(line for line in ax.lines if "above the hull" in line.get_label())
    assert set(grey.get_xdata()) == set(result.J) - {v.k for v in result.hull}
    assert nothing_clipped(ax.figure)


def test_hull_bars_are_the_error_of_the_whole_drop() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 400))
    hull = choose({0: rows[0] + 3, 2: rows[1]}, 0.03).hull
    ladder = Ladder.of(hull, 2, 0.03, flows.Front(3))
    J = {v.k: v.J for v in hull}
    flow = SimpleNamespace(seed=0)
    result = SimpleNamespace(
        hull=hull, ladder=ladder, J=J, structure_dim=2, null_worth=0.03, train=[], held_out=[], flow=flow, kl=None
    )
    (_, _, (bars,)) = figures.plot_hull(result).containers[0]
    (_, low), (_, high) = bars.get_segments()[1]
    assert (high - low) / 2 == pytest.approx(np.std(rows[0] - rows[1], ddof=1) / 20)


def test_width_marks_every_exit(result: SimpleNamespace) -> None:
    ax = figures.plot_width(result)
    depth, width = ax.lines[0].get_data()
    assert width[0] == DIMS and width[-1] == result.structure_dim
    assert width[150] == pytest.approx(result.flow.width(float(depth[150])))
    exits = {line.get_label(): sorted(line.get_xdata()) for line in ax.figure.axes[1].lines}
    assert len(exits["structure"]) == result.structure_dim and set(exits["noise"]) == {0.875}
    assert nothing_clipped(ax.figure)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 9])
def test_structure_at_every_k(k: int) -> None:
    s, labels = np.random.default_rng(0).normal(size=(300, k)), np.arange(300) % 10
    ax = figures.plot_structure(s, labels, seed=5)
    text = words(ax.figure)
    assert "n = 300, seed 5" in text and f"k = {k}" in text
    if k:
        assert [t.get_text() for t in ax.get_legend().get_texts()] == [str(i) for i in range(10)]
        assert "s1 (whitened" in text
    points = ax.child_axes[-1].collections if k > 3 else ax.collections
    if k > 1:
        assert sum(len(c.get_offsets()) for c in points) == 300
    assert len(ax.child_axes) == (6 if k > 3 else 0)
    assert nothing_clipped(ax.figure)


def test_many_labels_get_a_colour_scale() -> None:
    s = np.random.default_rng(0).normal(size=(300, 2))
    ax = figures.plot_structure(s, np.linspace(0, 3, 300))
    assert ax.get_legend() is None and ax.figure.axes[1].get_ylim() == pytest.approx((0, 3))
    assert figures.plot_structure(s).get_legend() is None


def test_structure_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="one entry per row of s, got 3 for 4"):
        figures.plot_structure(np.zeros((4, 2)), [0, 1, 2])
    with pytest.raises(ValueError, match="projection='3d'"):
        figures.plot_structure(np.zeros((4, 3)), ax=Figure().subplots())


def test_noise_names_the_worst_dimension() -> None:
    n = np.random.default_rng(0).normal(size=(2000, 4)) + np.array([0, 0, 0.5, 0])
    ax = figures.plot_noise(n, seed=1)
    assert "(n3)" in ax.get_title() and "0.19" in ax.get_title()
    # 1.36 / sqrt(rows) at one dimension is Kolmogorov's table value
    assert f"below {1.358 / np.sqrt(2000):.3f}" in figures.plot_noise(n[:, :1]).get_title()
    assert len(ax.lines) == 5 and nothing_clipped(ax.figure)
    assert "no noise block" in words(figures.plot_noise(n[:, :0]).figure)


def test_training_names_and_shades_the_stages(history: list[dict]) -> None:
    ax = figures.plot_training(history, note="n = 3, seed 4")
    assert [t.get_text() for t in ax.texts] == ["settle", "screen", "ramp"]
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches] == [(0, 60), (60, 100), (100, 160)]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [r["nll"] for r in history])
    np.testing.assert_allclose(ax.figure.axes[1].lines[0].get_ydata(), [r["kinetic"] for r in history])
    assert "n = 3, seed 4" in words(ax.figure) and nothing_clipped(ax.figure)


def test_an_interrupted_run_has_a_training_figure(history: list[dict]) -> None:
    for rows in ([], history[:1]):
        figures.plot_training(rows).figure.canvas.draw()


def test_given_axes_are_used(result: SimpleNamespace, history: list[dict]) -> None:
    axes = Figure(layout="constrained").subplots(2, 3).ravel()
    for draw, ax in zip((figures.plot_path, figures.plot_hull, figures.plot_width), axes, strict=False):
        assert draw(result, ax=ax) is ax
    assert figures.plot_training(history, ax=axes[3]) is axes[3]
    assert figures.plot_noise(np.zeros((9, 2)), ax=axes[4]) is axes[4]
    assert figures.plot_structure(np.zeros((9, 5)), ax=axes[5]) is axes[5]
    with pytest.raises(ValueError, match="subplots"):
        figures.plot_path(result, ax=Figure().add_axes((0, 0, 1, 1)))


def test_save_writes_six_legible_files(result: SimpleNamespace, history: list[dict], tmp_path: Path) -> None:
    before = settings()
    n = np.random.default_rng(0).normal(size=(150, DIMS - result.structure_dim))
    s = np.zeros((150, result.structure_dim))
    files = figures.save_figures(result, s, n, np.arange(150) % 3, history, tmp_path / "new" / "figures", seed=7)
    assert [f.name for f in files] == [f"{x}.png" for x in ("path", "hull", "width", "structure", "noise", "training")]
    assert all(min(imread(f).shape[:2]) > 400 for f in files)
    assert settings() == before


def test_figures_leave_pyplot_and_torch_alone() -> None:
    code = "import sys, training.figures.run; print(*({'matplotlib.pyplot', 'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
