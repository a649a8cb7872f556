"""The analyzer on flows whose structure is known exactly: every verb, the run folder, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import training
from analysis import Analyzer, SavedRun
from analysis.drawing import palette
from analysis.reports.compare import compare
from flows import FunnelFlow
from training.stages.starting import refit_mixture

ROWS = 1600


def exact_flow(name, noise_dims=2, rows=ROWS, seed=0):
    """A flow at rest whose first axes are the planted structure; rows and the truth."""
    made = training.planted(name, rows, noise_dims, seed, diffeo=False)
    flow = FunnelFlow.from_rows(made.x)
    flow.front.set_rotation(torch.linalg.lstsq(flow.front.whiten(made.x), made.x).solution.T)
    is_open = torch.arange(made.x.shape[1]) < made.structure_dim
    flow.exits.set_open(is_open)
    if made.structure_dim:
        refit_mixture(flow, flow.transform(made.x).detach(), is_open, seed)
    return flow.requires_grad_(False).eval(), made


def write_run(folder, name="two", **change):
    """A finished run's folder, as the command line leaves it."""
    flow, made = exact_flow(name)
    flow.save(folder)
    k = flow.structure_dim
    result = {
        "structure_dim": k,
        "confidence": 0.4,
        "stability": 0.8,
        "prices": [0.7] * k + [None] * (flow.front.dims - k),
        "worth": [0.13] * k,
        "worth_se": [0.004] * k,
        "hull": [{"k": 0, "low": 0.13, "high": None}, {"k": k, "low": 0.0, "high": 0.13}] if k else [],
        "ladder": {"text": "ladder: 1 x 0.130 | k = 1\nwhy: .13 < 1"} if k else {},
        "null": {"threshold": 0.03},
        "nll": 5.0,
        "kinetic": 0.1,
        "steps": 10,
        "notes": ["<b>screened</b>"],
        "versions": {"torch": "2"},
        "data": f"<{name}>",
        "seed": 0,
        **change,
    }
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text("model:\n  kappa: 2.0\n")
    held = torch.arange(ROWS) < 400
    data = {}
    for side, kept in (("held_out", held), ("train", ~held)):
        data[f"{side}.x"], data[f"{side}.rows"] = made.x[kept], 1000 + kept.nonzero().squeeze(1)
        data[f"{side}.labels"] = made.labels[kept]
    save_file(data, folder / "data.safetensors")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def two(run):
    return Analyzer.load(run)


def test_a_run_is_read_back_whole(run):
    saved = SavedRun.load(run)
    assert saved.x.shape == (ROWS, 3) and len(saved.held_out) == 400
    assert saved.rows[:2].tolist() == [1000, 1001] and saved.labels.shape == (ROWS,)
    assert "k=1 of 3" in repr(saved)


def test_the_blocks_are_the_planted_ones(two):
    assert two.s.shape == (ROWS, 1) and two.n.shape == (ROWS, 2)
    structure = training.planted("two", ROWS, 2, 0, diffeo=False).structure.numpy()
    assert abs(np.corrcoef(two.s[:, 0], structure[:, 0])[0, 1]) > 0.9999


def test_dimensions_say_what_the_run_found(two):
    found = two.dimensions()
    assert (found.structure_dim, found.dims, found.null_worth) == (1, 3, 0.03)
    assert "k = 1 of 3" in repr(found) and "worth 0.130" in repr(found) and "left at 0.70" in repr(found)
    assert repr(found).startswith("ladder: 1 x 0.130 | k = 1\nwhy") and found.to_dict()["ladder"] == found.ladder


def test_two_clusters_are_two_pieces_with_their_labels(two):
    from sklearn.metrics import adjusted_rand_score

    tree = two.tree()
    assert adjusted_rand_score(two.labels, tree.labels_) > 0.99
    assert two.levels().betti(0.9) == (2,)


def test_examples_carry_their_rows_and_labels(two):
    heavy = two.examples(piece=0, count=5)
    assert len(heavy) == 5 and set(heavy.labels.tolist()) == {int(two.labels[heavy.index[0]])}
    assert (heavy.rows >= 1000).all() and np.array_equal(two.rows[heavy.index], heavy.rows)
    spread = two.examples(dimension=0, count=4)
    assert spread.values[0] == two.s.min() and spread.values[-1] == two.s.max() and (np.diff(spread.values) > 0).all()
    edge = two.examples(level=0.9, count=3)
    share = (two.density.log_prob(two.s) > edge.values.mean()).mean()
    assert share == pytest.approx(0.9, abs=0.01)


def test_outliers_score_near_one_and_the_middle_of_a_cluster_near_zero(two):
    x = two.flow.decode(torch.tensor([[two.s[two.labels == 0].mean()], [0.0], [30.0]], dtype=torch.float32))
    low, between, far = two.outlier_score(x)
    assert low < 0.2 and between > 0.6 and far == 1


def test_samples_of_a_piece_decode_into_that_piece(two):
    x = two.sample(1, 50)
    pieces = two.tree().predict(two.flow.encode(x).numpy())
    assert x.shape == (50, 3) and (pieces == 1).mean() > 0.95


def test_hierarchy_tear_certificate_and_intrinsic_dimension_answer(two):
    assert two.hierarchy().to_dict() and two.tear().to_dict() and two.intrinsic_dimension().to_dict()
    assert two.certificate().rows == 400, "held-out rows alone"


def test_everything_is_json(two):
    for verb in ("dimensions", "levels", "tree", "hierarchy", "certificate", "tear", "carved", "intrinsic_dimension"):
        json.dumps(getattr(two, verb)().to_dict(), allow_nan=False)


def test_k_0_answers_nothing_but_noise(tmp_path):
    analyzer = Analyzer.load(write_run(tmp_path, "gaussian"))
    for verb in ("levels", "tree", "hierarchy", "carved"):
        answer = getattr(analyzer, verb)()
        assert "nothing but noise at this regularity" in repr(answer)
        assert answer.plot().texts and json.dumps(answer.to_dict())
    assert "nothing but noise" in repr(analyzer.dimensions()) and "nothing but noise" in repr(
        analyzer.examples(piece=0)
    )
    assert analyzer.certificate().to_dict() and analyzer.tear().to_dict()
    with pytest.raises(ValueError, match="draw from the flow itself"):
        analyzer.sample(0)
    assert analyzer.report(tmp_path / "r.html").stat().st_size > 1000


def test_the_report_is_one_escaped_file_that_asks_for_nothing(two, tmp_path):
    html = two.report(tmp_path / "deep" / "report.html").read_text()
    assert "&lt;two&gt;" in html and "<two>" not in html and "<b>screened" not in html
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")
    assert html.count("<img") >= 6 and "What could make this wrong" in html
    assert "<dd>1 of 3; 2 left as Gaussian noise</dd>" in html
    rungs = html.index("<dd>ladder: 1 x 0.130 | k = 1\nwhy: .13 &lt; 1</dd>")
    assert (
        rungs < html.index("<dd>1 of 3")
        and "ladder" not in Analyzer(two.flow, two.x[:300]).dimensions().to_dict()["ladder"]
    )
    assert "<dd>2 pieces in the densest set that holds 90 % of the rows</dd>" in html
    assert html.count("&#9632;</span> label 1</span>") == 2, "funnel and block have a key"
    assert "confidence is only 0.40" in html and "80% of resamples" in html and "kappa: 2.0" in html
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_three_dimensions_are_shown_in_a_viewer_that_turns():
    flow, made = exact_flow("sphere", rows=1200)
    from analysis.reports.report import _structure

    section = _structure(Analyzer(flow, made.x))
    assert section.cloud[0].shape[1] == 3
    from analysis.reports.page import page

    assert "<canvas" in page("t", [section])


@pytest.mark.parametrize("count", [1, 8, 9, 10, 30])
def test_classes_have_colours_of_their_own(count):
    assert len(set(palette(count))) == count


def test_compare_stars_what_differs(run, two, tmp_path):
    other = Analyzer.load(write_run(tmp_path, confidence=0.9))
    table = compare(two, other)
    assert table.differences == ["confidence"] and "0.40" in repr(table) and repr(table).count("*") == 1


def test_other_rows_and_a_flow_alone(run, two):
    some = Analyzer.load(run, two.x[:300])
    assert some.certificate().worth == 0.13
    assert some.certificate().verdict == "not decided" and "was not given" in some.certificate().reason
    unseen = Analyzer.load(run, two.x[:300], is_held_out=True).certificate()
    assert "was not given" not in unseen.reason and unseen.worth == 0.13
    assert len(some.x) == 300 and some.is_held_out.all() and some.dimensions().worth == (0.13,)
    alone = Analyzer(two.flow, two.x[:300])
    assert np.isnan(alone.certificate().worth)
    assert alone.dimensions().worth == () and "k = 1 of 3" in repr(alone.dimensions())


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: (f / "data.safetensors").unlink(), FileNotFoundError, "keeps no rows; give some"),
        (lambda f: (f / "data.safetensors").write_bytes(b"x" * 50), ValueError, "data.safetensors is damaged"),
        (lambda f: (f / "result.json").write_text("{"), ValueError, "result.json is damaged"),
        (lambda f: (f / "result.json").unlink(), FileNotFoundError, "no result.json"),
        (
            lambda f: save_file({"held_out.x": torch.zeros(2, 3)}, f / "data.safetensors"),
            ValueError,
            "holds no held_out.rows",
        ),
        (lambda f: (f / "path.csv").write_text("step,k\n1,x\n"), ValueError, "path.csv is damaged"),
    ],
    ids=["no rows", "damaged rows", "damaged result", "no result", "rows without numbers", "damaged path"],
)
def test_damaged_runs_are_named(tmp_path, spoil, error, message):
    spoil(write_run(tmp_path))
    with pytest.raises(error, match=message):
        Analyzer.load(tmp_path)


def test_unfinished_and_missing_runs_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        Analyzer.load(tmp_path / "nowhere")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="is not finished; go on with: unknot fit --resume"):
        Analyzer.load(tmp_path)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda a: a.examples(), "exactly one of piece, dimension, level; got none"),
        (lambda a: a.examples(piece=0, level=0.5), "got piece and level"),
        (lambda a: a.examples(piece=7), "no piece 7; the tree has 2"),
        (lambda a: a.examples(dimension=1), "no structure dimension 1; there are 1"),
        (lambda a: a.examples(level=1.0), "strictly between 0 and 1, got 1.0"),
        (lambda a: a.examples(piece=0, count=0), "count must be at least 1"),
        (lambda a: a.levels((0.5, 1.5)), "1.5"),
        (lambda a: Analyzer(a.flow, a.x[:, :2]), "2"),
        (
            lambda a: Analyzer(a.flow, a.x, labels=[1, 2]),
            r"labels must have one entry per row, shape \(1600,\), got \(2,\)",
        ),
        (lambda a: Analyzer(a.flow, a.x[:0]), "rows"),
        (lambda a: compare(Analyzer(a.flow, a.x), a), "compare needs two runs"),
    ],
)
def test_refused(two, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(two)


def test_one_row_claims_nothing(two):
    one = Analyzer(two.flow, two.x[:1], is_held_out=True)
    assert one.certificate().verdict == "not decided" and "1 rows are too few" in one.certificate().reason
    for verb in ("levels", "tree", "hierarchy", "tear", "carved", "intrinsic_dimension"):
        assert repr(getattr(one, verb)())


def test_global_random_state_stays(two, run, untouched_rng):
    with untouched_rng():
        fresh = Analyzer.load(run)
        for verb in ("levels", "tree", "hierarchy", "certificate", "tear", "carved", "intrinsic_dimension"):
            getattr(fresh, verb)()


def test_the_same_seed_gives_the_same_answers(two, run):
    again = Analyzer.load(run)
    assert repr(again.tree()) == repr(two.tree()) and repr(again.levels()) == repr(two.levels())
    assert again.certificate().to_dict() == two.certificate().to_dict()
