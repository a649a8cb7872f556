"""Faithfulness: edits whose result is known on paper, heads that read structure or noise alone, and what cannot be asked."""

import json
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from analysis.analyzer import Analyzer, Nothing
from analysis.causal.asking import Asked
from analysis.causal.edits import OfDirections, OfFlow, subspaces
from analysis.causal.faithfulness import faithfulness
from flows.flow import FunnelFlow
from flows.front import Front
from flows.geometry.nuisance import Nuisance
from flows.nets.questions import Question, RelevanceError
from flows.nets.tail import Tail
from training.commands._runs import ask_its_net
from training.subjects import trained_subject

ROWS, DIMS = 400, 6


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def linear() -> tuple[FunnelFlow, torch.Tensor]:
    """A flow that only whitens and turns, k = 3 of 6, and its rows."""
    x = drawn(ROWS, DIMS) @ drawn(DIMS, DIMS, seed=1) + 5
    flow = FunnelFlow.from_rows(x, hidden=8).requires_grad_(False)
    flow.front.set_rotation(drawn(DIMS, DIMS, seed=2))
    flow.exits.set_open(torch.tensor([1, 0, 1, 0, 1, 0]) > 0)
    return flow, x


def reading(flow, block, weights):
    """A head that reads one block of the flow alone."""
    return lambda x: flow.split(flow.transform(x))[block] @ weights


WEIGHTS = torch.tensor([[4.0, -4.0, 0.0, 1.0], [0.0, 4.0, -4.0, 1.0], [0.0, 0.0, 0.0, 0.0]])


def test_a_net_that_reads_structure_alone(linear) -> None:
    flow, x = linear
    found = Analyzer(flow, x).faithfulness(head=reading(flow, 0, WEIGHTS))
    block, others = found["block"], found.parts[1:]
    for effect in block.rest.values():
        assert effect.lost < 1e-6 and effect.agreement == 1
    assert (block.swap.follow, block.swap.stay) == (1, 0) and block.swap.missing < 1e-6
    assert [part.name for part in others] == ["principal", "random"]
    for part in others:
        assert part.rest["redrawn"].agreement < 0.9 and part.rest["exchanged"].lost > 0.2 and part.swap.follow < 0.8
    assert found.moved[2] < 1e-6 < 0.1 < min(found.moved[:2])
    assert (found.structure_dim, found.rest_dim, found.rows) == (3, 3, ROWS)
    assert "redrawing the 3 directions called noise leaves 100.0 % of the answers as they are" in found.verdict()
    assert "exchanging the block makes 100.0 % of answers follow the donor (3 random ones" in repr(found)


def test_a_net_that_reads_noise_alone(linear) -> None:
    flow, x = linear
    found = Analyzer(flow, x).faithfulness(head=reading(flow, 1, WEIGHTS))
    block = found["block"]
    assert all(effect.lost > 0.3 * found.information and effect.agreement < 0.8 for effect in block.rest.values())
    assert (block.swap.follow, block.swap.stay) == (0, 1) and max(found.moved) < 1e-6
    assert all(lost == pytest.approx(block.rest["exchanged"].lost, rel=1e-4) for _, lost, _ in block.curve)


def test_nats_of_a_regression_on_noise_are_known_on_paper(linear) -> None:
    flow, x = linear
    asks = Question(reading(flow, 1, torch.eye(3)), "gaussian", 1.0)
    found = Analyzer(flow, x).faithfulness(head=asks)
    rest = found["block"].rest
    assert rest["mean"].lost == pytest.approx(3 / 2, rel=0.01)  # |n|^2 / 2
    assert rest["redrawn"].lost == pytest.approx(3, rel=0.1) and rest["exchanged"].lost == pytest.approx(3, rel=0.1)
    assert found.information == pytest.approx(1.5 * np.log(2), rel=0.01) and not found.is_choice
    assert "cosine" in repr(found)


def test_a_curve_runs_from_the_donor_to_the_exchanged_noise(linear) -> None:
    flow, x = linear
    found = Analyzer(flow, x).faithfulness(head=lambda rows: flow.transform(rows)[:, :5] * 2)
    starts = {part.name: part.curve[0][1] for part in found.parts}
    assert [j for j, *_ in found["block"].curve] == [0, 1, 2, 3]
    assert starts["random"] == pytest.approx(starts["block"], rel=1e-4)
    for part in found.parts:
        assert part.curve[-1][1:] == pytest.approx(
            (part.rest["exchanged"].lost, part.rest["exchanged"].agreement), rel=1e-4
        )


def test_edits_change_what_they_say(make_flow) -> None:
    flow = make_flow(5, "mixed").requires_grad_(False)
    flow.exits.set_open(torch.tensor([1, 0, 1, 0, 0]) > 0)
    x = flow.sample(60, torch.Generator().manual_seed(0))
    partner = torch.arange(60).roll(7)
    edits = OfFlow(flow, x, partner, torch.Generator().manual_seed(0))
    s, n = flow.split(flow.transform(x))

    def blocks(rows):
        return flow.split(flow.transform(rows))

    def same(found, s, n):
        return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(blocks(found), (s, n), strict=True))

    assert same(edits.swapped(), s[partner], n) and same(edits.rest("mean"), s, 0 * n)
    assert same(edits.rest("exchanged"), s, n[partner]) and torch.allclose(edits.first(0), x[partner], atol=1e-6)
    assert same(edits.one(1), torch.stack([s[:, 0], s[partner, 1]], 1), n)
    assert same(edits.first(1), torch.stack([s[:, 0], s[partner, 1]], 1), n[partner])
    redrawn = blocks(edits.rest("redrawn"))
    assert torch.allclose(redrawn[0], s, atol=1e-6) and not torch.allclose(redrawn[1], n, atol=0.1)


def test_idle_directions_are_edited_and_what_the_front_does_not_model_is_kept() -> None:
    x = torch.cat([drawn(300, 4), 1e-7 * drawn(300, 1, seed=3), torch.ones(300, 1)], dim=1)
    x = torch.cat([x, x[:, :1]], dim=1)
    metric = torch.diag(torch.tensor([4.0, 3, 0.1, 0, 0, 0, 0])).double()
    fronts = {"relevance": {"front": "relevance", "metric": metric, "keep": 2}, "whiten": {}}
    for kind, settings in fronts.items():
        with pytest.warns(UserWarning, match="constant columns"):
            flow = FunnelFlow.from_rows(x, hidden=8, **settings).requires_grad_(False)
        flow.exits.set_open(torch.arange(flow.front.dims) < 2)
        edits = OfFlow(flow, x, torch.arange(300).roll(1), torch.Generator().manual_seed(0))
        new = edits.rest("exchanged")
        assert torch.allclose(new[:, 5:], torch.stack([x[:, 5], new[:, 0]], 1), atol=1e-5), kind
        before, after = (flow.split(flow.transform(rows))[0] for rows in (x, new))
        assert torch.allclose(before, after, atol=1e-4), kind
        assert edits.rest_dim == {"relevance": 3, "whiten": 2}[kind]
        if kind == "whiten":  # below the noise floor: kept
            assert torch.allclose(new[:, 4], x[:, 4], atol=1e-5)


@pytest.mark.parametrize("kind", ["whiten", "principal", "relevance"])
def test_subspaces_are_orthonormal_and_the_principal_one_is_that_of_the_rows(kind) -> None:
    x = drawn(400, 4) * torch.tensor([1.0, 5, 3, 0.5])
    mixed = drawn(4, 4, seed=1).double()
    metric = mixed @ mixed.T if kind == "relevance" else None
    front = Front.from_rows(x, kind=kind, metric=metric, keep=2)
    named = dict(subspaces(front, 2, torch.Generator().manual_seed(0)))
    assert list(named) == (["relevant"] if kind == "relevance" else []) + ["principal", "random"]
    for bases in named.values():
        assert torch.allclose(bases.mT @ bases, torch.eye(2).double().expand(len(bases), 2, 2), atol=1e-5)
    partner = torch.arange(400).roll(3)
    new = OfDirections(front, x, partner, torch.Generator(), named["principal"]).swapped()
    error = (new[:, 1:3] - x[partner][:, 1:3]).norm() / x.norm()
    assert error < 0.15 and (new[:, [0, 3]] - x[:, [0, 3]]).norm() / x.norm() < 0.15


def test_the_tasks_loss_where_labels_are_classes(linear) -> None:
    flow, x = linear
    head = reading(flow, 1, WEIGHTS)
    labels = head(x).argmax(1).numpy()
    found = Analyzer(flow, x, labels=labels).faithfulness(head=head)
    logs = head(x).double().log_softmax(1)
    assert found.as_it_is.loss == pytest.approx(float(-logs[torch.arange(ROWS), labels].mean()), rel=1e-5)
    assert found.as_it_is.accuracy == 1
    assert found["block"].rest["redrawn"].accuracy == pytest.approx(found["block"].rest["redrawn"].agreement)
    assert "not edited: loss" in repr(found)
    assert Analyzer(flow, x, labels=labels + 4).faithfulness(head=head).as_it_is.loss is None


def test_whose_an_answer_in_numbers_is(linear) -> None:
    flow, x = linear
    circle = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    found = Analyzer(flow, x).faithfulness(head=reading(flow, 0, circle), answer="cosine")
    assert (found["block"].swap.follow, found["block"].swap.stay) == (1, 0)
    assert found["block"].rest["redrawn"].agreement == pytest.approx(1, abs=1e-6)
    assert found["random"].swap.follow < 0.5 and "takes 100.0 % of answers to the donor's" in found.verdict()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (lambda x: x * torch.nan, "NaN or inf at"),
        (lambda x: x[:-1], r"returned 299 answers for 300 rows"),
        (lambda x: x.argmax(1), "must return a tensor of floating-point numbers, got torch.int64"),
        (lambda x: 0 * x, "does not depend on this layer"),
    ],
)
def test_bad_heads(linear, head, message) -> None:
    flow, x = linear
    with pytest.raises(RelevanceError, match=message):
        Analyzer(flow, x[:300]).faithfulness(head=head)


def test_what_cannot_be_asked(linear) -> None:
    flow, x = linear
    analyzer, net = Analyzer(flow, x), nn.Linear(DIMS, 3)
    with pytest.raises(ValueError, match="needs what comes after the layer, got nothing; pass head="):
        analyzer.faithfulness()
    with pytest.raises(ValueError, match="got parts of both"):
        analyzer.faithfulness(net, "", x, head=net)
    with pytest.raises(TypeError, match="must be a function from rows"):
        analyzer.faithfulness(head=3)
    with pytest.raises(ValueError, match="too few rows to exchange: got 10, expected at least 20"):
        Analyzer(flow, x[:10]).faithfulness(head=net)
    with pytest.raises(ValueError, match="this needs a flow"):
        Analyzer.from_structure(x).faithfulness(head=net)
    with pytest.raises(ValueError, match="rows must be numbered from 0"):
        Analyzer(flow, x, rows=[f"row {i}" for i in range(ROWS)]).faithfulness(head=net)
    with pytest.raises(ValueError, match="fitted without a nuisance"):
        analyzer.faithfulness(head=net, nuisance=torch.zeros(ROWS, dtype=torch.long))


def test_no_structure_is_an_answer() -> None:
    x = drawn(200, 3)
    flow = FunnelFlow.from_rows(x, hidden=8).requires_grad_(False)
    flow.exits.set_open(torch.zeros(3) > 0)
    found = Analyzer(flow, x).faithfulness(head=lambda rows: rows)
    assert isinstance(found, Nothing) and "k = 0, nothing but noise" in repr(found)


def test_no_noise_is_said() -> None:
    x = drawn(200, 3)
    flow = FunnelFlow.from_rows(x, hidden=8).requires_grad_(False)
    flow.exits.set_open(torch.ones(3) > 0)
    found = Analyzer(flow, x).faithfulness(head=lambda rows: 3 * rows)
    assert found.verdict().startswith("no direction is called noise; exchanging the block makes 100.0 %")
    assert found["random"].rest["redrawn"].lost < 1e-6


class Net(nn.Module):
    """Each position is doubled; the answer at a position is a linear function of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Linear(DIMS, 4, bias=False)
        nn.init.normal_(self.head.weight)

    def forward(self, inputs):
        return self.head(self.layer(2 * inputs))


def test_a_model_is_asked_by_the_rows_own_numbers(linear) -> None:
    flow, x = linear
    net, numbers = Net(), torch.arange(ROWS).flip(0)
    inputs = (x / 2).flip(0)  # row i is of input ROWS - 1 - i
    analyzer = Analyzer(flow, x, rows=numbers, is_held_out=np.arange(ROWS) < 250)
    found = analyzer.faithfulness(net, "layer", inputs)
    plain = analyzer.faithfulness(head=net.head)
    assert found.rows == 250 and found.to_dict() == plain.to_dict()
    with pytest.raises(ValueError, match=r"are not the analyzer's: they differ by 1\.\d+ of their sd"):
        analyzer.faithfulness(net, "layer", x / 2)
    with pytest.raises(ValueError, match="the head is of 300 rows, the analyzer has row number 399"):
        analyzer.faithfulness(net, "layer", inputs[:300])


def test_rows_at_positions_of_sequences(linear) -> None:
    flow, x = linear
    net, inputs = Net(), (x / 2).reshape(ROWS // 4, 4, DIMS)
    where = {"examples": torch.arange(ROWS // 4).repeat_interleave(4), "positions": torch.arange(4).repeat(ROWS // 4)}
    tail = Tail(net, "layer", inputs, **where, answer_at="same")
    assert torch.allclose(tail.rows(torch.tensor([7, 2])), x[[7, 2]])
    analyzer = Analyzer(flow, x)
    found = analyzer.faithfulness(net, "layer", inputs, **where, answer_at="same")
    assert found.to_dict() == analyzer.faithfulness(head=net.head).to_dict()


def test_a_nuisance_is_put_back(linear) -> None:
    _, x = linear
    classes = torch.arange(ROWS) % 3
    raw = x + 10 * classes[:, None]
    nuisance, residual, _ = Nuisance.of(raw, classes[:, None])
    flow = FunnelFlow.from_rows(residual, hidden=8, nuisance=nuisance).requires_grad_(False)
    flow.exits.set_open(torch.arange(DIMS) < 2)
    analyzer, net = Analyzer(flow, raw - nuisance.effect(classes, ROWS), rows=torch.arange(ROWS)), Net()
    analyzer.question = Question(net.head)
    assert not analyzer.can_ask
    with pytest.raises(ValueError, match="fitted with a nuisance.*pass nuisance="):
        analyzer.faithfulness(net, "layer", raw / 2)
    assert analyzer.faithfulness(net, "layer", raw / 2, nuisance=classes).rows == ROWS
    gaps = []

    def head(rows):
        gaps.append(float(rows[classes == 2].mean() - rows[classes == 0].mean()))
        return net.head(rows)

    analyzer.faithfulness(head=head, nuisance=classes)
    assert gaps == pytest.approx([20] * len(gaps), abs=1)
    with pytest.raises(ValueError, match="the nuisance is of 300 rows"):
        analyzer.faithfulness(head=net.head, nuisance=classes[:300])


def test_a_head_that_is_not_deterministic_is_noted(linear) -> None:
    flow, x = linear
    generator = torch.Generator().manual_seed(0)

    def head(rows):
        return rows + torch.randn(rows.shape, generator=generator)

    notes = Asked(Question(head), x, torch.arange(ROWS), torch.arange(ROWS).roll(1)).notes
    assert "not deterministic" in notes[0]


def test_rows_are_drawn_by_the_seed(linear, untouched_rng) -> None:
    flow, x = linear
    sources = np.arange(ROWS) // 2
    with untouched_rng():
        found, again = (
            faithfulness(flow, x, Question(lambda r: r), sources=sources, seed=3, most_rows=100) for _ in range(2)
        )
    assert (found.rows, found.seed) == (100, 3) and found.to_dict() == again.to_dict()
    assert "100 rows" in repr(found) and "seed 3" in repr(found)
    for most in (100, ROWS):  # other rows, and other donors and noise
        one, other = (faithfulness(flow, x, Question(lambda r: r), seed=seed, most_rows=most) for seed in (3, 4))
        assert (one.information == other.information) == (most == ROWS)
        assert one["block"].rest["redrawn"].lost != other["block"].rest["redrawn"].lost


def test_rows_exchange_with_rows_of_other_sources(linear) -> None:
    flow, x = linear
    sources = np.arange(ROWS) % 20

    class SaysItsSource:
        def at(self, numbers):
            return lambda rows: 9.0 * nn.functional.one_hot(numbers % 20, 20)

    found = faithfulness(flow, x, Question(SaysItsSource()), sources=sources)
    assert found.pairs == ROWS > faithfulness(flow, x, Question(SaysItsSource())).pairs


def test_plot_and_plain_data(linear) -> None:
    flow, x = linear
    found = Analyzer(flow, x).faithfulness(head=reading(flow, 0, WEIGHTS), most_rows=100)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["parts"][0]["name"] == "block" and plain["verdict"] == found.verdict()
    ax = found.plot()
    assert [line.get_label() for line in ax.lines[:3]] == [
        "the flow's block", "principal directions", "random directions"
    ]  # fmt: skip
    assert "n = 100" in ax.texts[-1].get_text() and "follow" in ax.get_title()
    with pytest.raises(KeyError, match="no part 'other'; there are block, principal, random"):
        found["other"]


def test_subjects_bring_what_comes_after_their_layer() -> None:
    digits, ring = trained_subject("digits", rows=1797, step=0), trained_subject("ring", rows=120, step=1)
    for layer in (None, "summary.0"):
        activations = digits.activations(layer)
        with torch.no_grad():
            assert torch.allclose(activations.question.head(activations.x), digits.model(digits.inputs), atol=1e-5)
    assert not torch.equal(digits.activations().x, digits.activations("summary.0").x)
    assert (digits.question().answer, ring.question().answer) == ("softmax", "cosine")
    numbers = torch.tensor([0, 31, 95])
    rows = ring.activations().x[numbers]
    with torch.no_grad():
        answers = ring.model(ring.inputs).flatten(0, 1)[numbers]
        assert torch.allclose(ring.question().head.at(numbers)(rows), answers, atol=1e-5)


def test_a_runs_net_is_trained_again_and_asked_where_it_gives_the_same_rows(tmp_path, capsys) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\ndata:\n  subject: ring\n  rows: 600\n  step: 2\n")
    x = trained_subject("ring", 1, rows=600, step=2).activations().x
    flow = FunnelFlow.from_rows(x, hidden=8).requires_grad_(False)
    run = SimpleNamespace(folder=tmp_path, result={})
    analyzer, other = Analyzer(flow, x, run=run), Analyzer(flow, x.flip(0), run=run)
    ask_its_net(other, Namespace(data=None))
    assert other.question is None and "the net is not asked" in capsys.readouterr().err
    ask_its_net(analyzer, Namespace(data=None))
    assert (
        analyzer.can_ask
        and analyzer.faithfulness(most_rows=50) is not None
        and analyzer.faithfulness() is analyzer.faithfulness()
    )
    analyzer.question = None
    ask_its_net(analyzer, Namespace(data="rows.npy"))
    (tmp_path / "config.yaml").write_text("data:\n  planted: torus\n")
    ask_its_net(analyzer, Namespace(data=None))
    assert analyzer.question is None
