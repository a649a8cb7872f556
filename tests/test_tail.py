"""The rest of a net after a layer: each row in its own context, differentiable, and the model left as it was."""

import pytest
import torch
from torch import nn

import flows
from flows.nets.tail import answers_in

pytestmark = pytest.mark.quick


class Tokens(nn.Module):
    """Embeddings, a layer, and an answer that mixes all earlier positions."""

    def __init__(self):
        super().__init__()
        self.embed, self.layer, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, tokens):
        mixed = self.layer(self.embed(tokens)).cumsum(1)
        return {"logits": self.head(torch.tanh(mixed))}


@pytest.fixture
def tokens():
    return Tokens(), torch.randint(7, (5, 6))


def test_own_rows_give_the_models_own_answers(tokens):
    model, inputs = tokens
    rows = model.layer(model.embed(inputs)).detach()
    positions = torch.tensor([1, 2, 3, 4, 5])
    tail = flows.Tail(model, "layer", inputs, positions=positions, answer_at=-1)
    torch.testing.assert_close(tail(rows[torch.arange(5), positions]), model(inputs)["logits"][:, -1])
    same = flows.Tail(model, "layer", inputs, positions=positions, answer_at="same")
    torch.testing.assert_close(
        same(rows[torch.arange(5), positions]), model(inputs)["logits"][torch.arange(5), positions]
    )


def test_only_the_named_position_is_replaced(tokens):
    model, inputs = tokens
    rows = model.layer(model.embed(inputs)).detach()
    new = torch.randn(5, 4)
    changed = rows.clone()
    changed[:, 2] = new
    tail = flows.Tail(model, "layer", inputs, positions=torch.full((5,), 2), answer_at=5)
    torch.testing.assert_close(tail(new), model.head(torch.tanh(changed.sum(1))))


def test_some_rows_and_gradients(tokens):
    model, inputs = tokens
    tail = flows.Tail(model, "layer", inputs, torch.tensor([0, 0, 3]), torch.tensor([0, 5, 1]), answer_at=-1)
    assert len(tail) == 3
    x = torch.randn(2, 4, requires_grad=True)
    answers = tail.at(torch.tensor([2, 1]))(x)
    (slope,) = torch.autograd.grad(answers.sum(), x)
    assert answers.shape == (2, 3) and slope.abs().min() > 0
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and model.training


def test_two_axes_four_axes_and_keyword_inputs():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(6, 3)
    torch.testing.assert_close(flows.Tail(model, "1", x)(model[:2](x)), model(x))
    images = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(16, 2))
    shown = torch.randn(3, 1, 2, 2)
    maps = images[0](shown).flatten(2)
    tail = flows.Tail(images, "0", shown, positions=torch.tensor([0, 3, 1]))
    torch.testing.assert_close(tail(maps[torch.arange(3), :, torch.tensor([0, 3, 1])]), images(shown))

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, *, values, scale):
            return self.inner(values) * scale

    named = flows.Tail(Named(), "inner.1", {"values": x, "scale": 2.0})
    torch.testing.assert_close(named(model[:2](x)), 2 * model(x))


def test_what_does_not_fit(tokens):
    model, inputs = tokens
    with pytest.raises(ValueError, match="no layer 'layr'"):
        flows.Tail(model, "layr", inputs)
    with pytest.raises(ValueError, match="rows name examples up to 5, there are 5"):
        flows.Tail(model, "layer", inputs, torch.tensor([5]), torch.tensor([0]))
    with pytest.raises(ValueError, match="got 2 positions for 5 rows"):
        flows.Tail(model, "layer", inputs, positions=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="puts out 6 positions an example; say which"):
        flows.Tail(model, "layer", inputs, answer_at=-1)(torch.randn(5, 4))
    with pytest.raises(ValueError, match="puts out 4 channels, rows have 3"):
        flows.Tail(model, "layer", inputs, positions=torch.zeros(5).long())(torch.randn(5, 3))
    with pytest.raises(ValueError, match="got 4 rows for 5 places"):
        flows.Tail(model, "layer", inputs, positions=torch.zeros(5).long())(torch.randn(4, 4))
    with pytest.raises(TypeError, match="returned str without a tensor"):
        answers_in("no")
    with pytest.raises(ValueError, match="expected .examples, positions"):
        flows.Tail(nn.Linear(3, 2), "", torch.randn(4, 3), answer_at=0)(torch.randn(4, 2))
