"""What the net uses: closed forms of G and I, interchange, invariance under x -> Ax + b, and heads that cannot be measured."""

import math

import pytest
import torch
from torch import nn

import training
from flows.front import Front
from flows.nets.answers import Normal, Softmax
from flows.nets.questions import Question
from flows.nets.relevance import fisher, measure

ROWS = 600


@pytest.fixture
def rows():
    """(600, 6) of unequal scales, and a linear head that reads two directions of them."""
    x = torch.randn(ROWS, 6).double() @ torch.randn(6, 6).double()
    weight = torch.zeros(6, 3).double()
    weight[:, :2] = torch.randn(6, 2).double()
    return x, lambda x: x @ (weight * 1.5)


def split():
    return torch.arange(450), torch.arange(450, ROWS)


def test_fisher_of_a_softmax_is_its_closed_form(rows):
    x, head = rows
    got = fisher(head, x, torch.arange(ROWS), Softmax(), torch.Generator().manual_seed(0))
    weight = head(torch.eye(6).double())
    p = head(x).softmax(1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    torch.testing.assert_close(got, weight @ inner.mean(0) @ weight.T)


def test_fisher_of_a_regression_is_the_squared_jacobian_over_its_noise(rows):
    x, head = rows
    covariance = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.0], [0.0, 0.0, 0.5]]).double()
    kind = Normal.of(head(x), covariance)
    got = fisher(head, x, torch.arange(ROWS), kind, torch.Generator().manual_seed(0))
    weight = head(torch.eye(6).double())
    torch.testing.assert_close(got, weight @ torch.linalg.inv(covariance) @ weight.T)


@pytest.mark.parametrize("kind", ["softmax", "gaussian"])
def test_many_answers_are_drawn_and_come_to_the_same(kind):
    x, weight = torch.randn(4000, 4).double(), torch.randn(4, 40).double()
    answer = Softmax() if kind == "softmax" else Normal(torch.eye(40).double())
    drawn = fisher(lambda x: x @ weight, x, torch.arange(4000), answer, torch.Generator().manual_seed(0))
    p = (x @ weight).softmax(1)
    inner = (torch.diag_embed(p) - p[:, :, None] * p[:, None]).mean(0) if kind == "softmax" else torch.eye(40).double()
    exact = weight @ inner @ weight.T
    assert (drawn - exact).norm() < 0.1 * exact.norm()


def test_information_of_certain_and_of_constant_answers():
    certain = torch.full((400, 4), -60.0)
    certain[torch.arange(400), torch.arange(400) % 4] = 0.0
    assert Softmax().information(certain) == pytest.approx(math.log(4), abs=1e-9)
    assert Softmax().information(torch.zeros(9, 4)) == pytest.approx(0, abs=1e-12)
    values = torch.randn(100_000, 1).double() * 3
    assert Normal.of(values, 1.0).information(values) == pytest.approx(0.5 * math.log(10), abs=0.01)


def test_kl_of_answers():
    a, b = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    p, q = a.softmax(1), b.softmax(1)
    torch.testing.assert_close(Softmax().divergence(a, b), (p * (p / q).log()).sum(1))
    torch.testing.assert_close(Normal.of(a, 2.0).divergence(a, b), (a - b).square().sum(1) / 8)


def test_two_directions_are_used_and_the_others_exchange_freely(rows):
    x, head = rows
    found = measure(Question(head), x, *split())
    assert found.kept == 2 and found.lost < 1e-9 and found.agreement == 1
    assert found.curve[0][1] > 0.1 and found.curve[1][1] > found.largest_loss * found.information
    assert found.principal_kept is None or found.principal_kept > 2
    assert "uses 2 of 6 directions" in repr(found)
    assert found.carried[1] > 1e-3 and found.carried[2] < 1e-9


def test_a_change_of_coordinates_changes_nothing(rows):
    x, head = rows
    matrix, shift = torch.randn(6, 6).double(), torch.randn(6).double()
    back = torch.linalg.inv(matrix)
    plain = measure(Question(head), x, *split())
    moved = measure(Question(lambda x: head((x - shift) @ back)), x @ matrix + shift, *split())
    assert moved.kept == plain.kept
    for one, other in zip(plain.curve, moved.curve, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    torch.testing.assert_close(plain.carried, moved.carried, rtol=1e-5, atol=1e-8)
    fronts = [
        Front.from_rows(rows, kind="relevance", metric=found.metric, keep=2)
        for rows, found in ((x, plain), (x @ matrix + shift, moved))
    ]
    one, other = (front.whiten(rows) for front, rows in zip(fronts, (x, x @ matrix + shift), strict=True))
    torch.testing.assert_close(one.abs(), other.abs(), rtol=1e-4, atol=1e-5)


def test_a_change_of_coordinates_leaves_k_of_a_whole_fit():
    """Three classes in a plane of six columns: three clusters, whatever basis the layer is written in."""
    labels = torch.randint(3, (900,))
    centres = 6 * torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
    x = torch.randn(900, 6).double()
    x[:, :3] += centres[labels]
    matrix, shift = torch.randn(6, 6).double() + 2 * torch.eye(6).double(), torch.randn(6).double()

    def head(rows):
        return rows[:, :3] * 2

    def moved(rows):
        return head(torch.linalg.solve(matrix, rows - shift, left=False))

    settings = {
        "settle": 30,
        "screen": 20,
        "points_per_decade": 8,
        "steps_per_point": 2,
        "debias": 40,
        "debias_rounds": 1,
    }
    settings |= {"narrow": 0, "rounds": 1, "hidden": 32, "components": 8}
    one = training.fit(x, head=head, null_worth=0.03, **settings)
    other = training.fit(x @ matrix + shift, head=moved, null_worth=0.03, **settings)
    assert one.flow.front.kept == other.flow.front.kept == 2
    assert one.structure_dim == other.structure_dim > 0
    assert [v.k for v in one.hull] == [v.k for v in other.hull]
    assert one.hull[-1].worth == pytest.approx(other.hull[-1].worth, abs=0.01)


def test_of_few_rows_one_answer_may_change():
    """Twelve held-out rows with answers nearly tied in one of them: it alone must not call for another direction."""
    x = torch.randn(312, 3).double()
    x[:, 0] = x[:, 0].sign() * (4 + x[:, 0].abs())
    train, held = torch.arange(300), torch.arange(300, 312)
    x[300], x[301:, 1] = torch.tensor([1e-3, 1, 0]), -x[301:, 1].abs()  # the second column decides at row 300 alone

    def head(rows):
        margin = rows[:, 0] + 0.05 * rows[:, 1] * torch.exp(-rows[:, 0].square())
        return torch.stack([margin, -margin], 1)

    kept = {least: measure(Question(head), x, train, held, least_agreement=least, seed=3).kept for least in (0.99, 1.0)}
    assert kept == {0.99: 1, 1.0: 2}


def test_rows_exchange_with_rows_of_other_sources(rows):
    x, head = rows
    sources = torch.arange(ROWS) // 2
    seen = []

    class Watching:
        def at(self, numbers):
            seen.append(numbers)
            return head

    found = measure(Question(Watching()), x, *split(), sources=sources)
    assert found.kept == 2 and all(int(numbers.max()) < ROWS for numbers in seen)


def test_head_that_is_not_deterministic_is_said(rows):
    x, head = rows
    net = nn.Dropout(0.5)
    assert "not deterministic" in " ".join(measure(Question(lambda x: head(net(x))), x, *split()).notes)


WRONG = {
    "another number of rows": (lambda x: x[:-1], "answers for .* rows, expected one a row"),
    "NaN": (lambda x: x * float("nan"), "NaN or inf at"),
    "integers": (lambda x: x.argmax(1), "floating-point numbers"),
    "no gradient": (lambda x: x.detach().round(), "no gradient"),
    "constant": (lambda x: x[:, :2] * 0, "does not depend on this layer"),
    "one class": (lambda x: x[:, :1], "classes >= 2"),
    "no tensor": (lambda x: "seven", "floating-point numbers, got str"),
}


@pytest.mark.parametrize("head, message", WRONG.values(), ids=WRONG.keys())
def test_heads_that_cannot_be_measured(rows, head, message):
    with pytest.raises(ValueError, match=message):
        training.relevance(head, rows[0])


def test_other_wrong_input(rows):
    x, head = rows
    with pytest.raises(ValueError, match="too few rows: got 49, expected at least 50"):
        training.relevance(head, x[:49])
    with pytest.raises(ValueError, match="unknown answer 'sofmax'; did you mean 'softmax'"):
        training.relevance(head, x, "sofmax")
    with pytest.raises(ValueError, match="noise must be a standard deviation, 3 of them or a covariance"):
        training.relevance(head, x, "gaussian", noise=torch.ones(2))
    with pytest.raises(ValueError, match="noise must be positive"):
        training.relevance(head, x, "gaussian", noise=torch.zeros(3, 3))


def test_answers_by_name_and_by_function(rows):
    x, head = rows
    for answer in ("gaussian", "cosine", lambda out: out.log_softmax(1)):
        found = training.relevance(head, x, answer)
        assert found.kept == 2 and found.agreement > 0.99
    assert found.answer == "log-probabilities"


def test_plain_data_and_plot(rows):
    import json

    found = training.relevance(rows[1], rows[0])
    assert json.loads(json.dumps(found.to_dict()))["kept"] == 2
    ax = found.plot()
    assert len(ax.lines) >= 3 and "directions kept" in ax.get_xlabel()
