"""The regularity map: areas of each k above the null, the table in print, the file, the figure."""

import json

import pytest
from test_seeds import TINY

from training.cli import main
from training.kappa_map import Interval, KappaMap, KappaRow


def row(kappa, *intervals, null_worth=0.01):
    found = [Interval(*interval) for interval in intervals]
    return KappaRow(kappa, 2, 0.8, 0.9, null_worth, [0.1, 0.1], found, 5.0, 1.0)


@pytest.fixture
def ring():
    """k = 2 over one decade at kappa 1 and 2; at kappa 4 over two, below which k = 5 has half a decade."""
    return KappaMap(
        [
            row(1.0, (0, 0.1, None), (2, 0.01, 0.1), (3, 0.0, 0.01)),
            row(2.0, (0, 0.1, None), (2, 0.01, 0.1)),
            row(4.0, (0, 3.0, None), (2, 0.03, 3.0), (5, 0.0, 0.03)),
        ]
    )


def test_area_is_decades_of_lambda_times_octaves_of_kappa(ring):
    assert ring.rows[0].width(2) == pytest.approx(1)
    assert ring.rows[0].width(3) == 0  # below the null
    assert ring.areas == pytest.approx({2: 1 + 1.5, 5: 0.477 / 2}, abs=1e-3)
    assert ring.structure_dim == 2


def test_one_kappa_has_a_width(ring):
    assert KappaMap(ring.rows[2:]).areas == pytest.approx({2: 2, 5: 0.477}, abs=1e-3)


def test_noise_is_nothing_everywhere():
    noise = KappaMap([row(1.0, (0, 0.005, None), (2, 0.0, 0.005))])
    assert (noise.structure_dim, noise.areas) == (0, {})
    assert "above the null: none" in repr(noise)


def test_in_print(ring):
    lines = repr(ring).splitlines()
    assert " ".join(lines[3].split()) == "4 2 0.80 90% 0.010 5 from 0.01 to 0.03, 2 from 0.03 to 3, 0 beyond"
    assert "3 from" not in lines[1]
    assert lines[-1].endswith("k = 2 2.50, k = 5 0.24")


def test_the_file_holds_it_all_and_comes_from_a_run(ring, tmp_path):
    ring.write(tmp_path)
    found = json.loads((tmp_path / "kappas.json").read_text())
    assert (found["structure_dim"], found["rows"][2]["intervals"][0]) == (2, {"k": 0, "low": 3.0, "high": None})
    hull = [{"k": 0, "low": 0.1, "high": None}, {"k": 2, "low": 0.01, "high": 0.1}]
    result = {"structure_dim": 2, "confidence": 0.8, "stability": 0.9, "null": {"threshold": 0.01}, "worth": [0.1, 0.1]}
    (tmp_path / "result.json").write_text(json.dumps({**result, "hull": hull, "nll": 5.0, "kinetic": 1.0}))
    assert KappaRow.read(tmp_path, 2.0) == ring.rows[1]
    assert KappaMap.load(tmp_path).rows == ring.rows
    with pytest.raises(FileNotFoundError, match="unknot sweep writes it"):
        KappaMap.load(tmp_path / "nowhere")


def test_the_figure_has_a_bar_for_every_interval_above_the_null(ring):
    ax = ring.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2", "4"]
    assert sorted(text.get_text() for text in ax.texts if text.get_text().isdigit()) == sorted("22205" + "00")
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["k = 0", "k = 2", "k = 5", "below the null"]


def test_the_command_fits_at_every_kappa_and_goes_on_where_it_stopped(tmp_path, capsys):
    argv = ["path", *TINY, f"--out={tmp_path / 'map'}", "--kappas", "4", "1"]
    assert main([*argv[:-1]]) == 0
    first = (tmp_path / "map" / "kappa-4" / "result.json").stat().st_mtime_ns
    assert main(argv) == 0
    found = json.loads((tmp_path / "map" / "kappas.json").read_text())
    assert [r["kappa"] for r in found["rows"]] == [1.0, 4.0]
    assert (tmp_path / "map" / "kappa-4" / "result.json").stat().st_mtime_ns == first
    assert "\n  kappa: 4.0\n" in (tmp_path / "map" / "kappa-4" / "config.yaml").read_text()
    assert (tmp_path / "map" / "kappas.png").stat().st_size > 5000
    assert "decades of lambda x octaves of kappa above the null" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kappas", "message"),
    [
        (["0"], "--kappas must be positive and finite, got 0"),
        (["nan"], "--kappas must be positive"),
        (["1", "1.0000001"], "differ in their first six digits"),
        (["1", "--resume", "x"], "cannot resume x"),
    ],
)
def test_bad_kappas(kappas, message, capsys):
    assert main(["path", "--data.planted=circle", "--kappas", *kappas]) == 1
    assert message in capsys.readouterr().err
