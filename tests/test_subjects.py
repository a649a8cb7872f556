"""Subjects: shown several times, split by source, accurate, a function of the seed; what their layers carry."""

import pytest
import torch
from sklearn.datasets import load_digits

from training.data.activations import Activations
from training.subjects import SUBJECTS, subject, trained_subject
from training.subjects.common import Bottleneck, angle_errors, drawn_batches


@pytest.fixture(scope="module")
def shown():
    return trained_subject("digits")


@pytest.fixture(scope="module")
def activations():
    return subject("digits")


def test_every_image_is_shown_several_times(shown):
    assert shown.inputs.shape == (12_000, 64)
    assert len(shown.inputs.unique(dim=0)) == 12_000
    counts = shown.sources.bincount()
    assert len(counts) == 1797 and set(counts.tolist()) == {6, 7}
    assert shown.labels.equal(torch.tensor(load_digits().target)[shown.sources])


def test_showings_differ_little_from_the_image(shown):
    images = torch.tensor(load_digits().images / 16, dtype=torch.float32).flatten(1)
    error = (shown.inputs - images[shown.sources]).square().mean().sqrt()
    other = (shown.inputs - images[shown.sources.roll(1)]).square().mean().sqrt()
    assert 0.05 < error < other / 2


def test_accuracy_on_images_that_were_not_trained_on(shown):
    assert shown.scores["accuracy"] >= 0.95
    _, held = Activations(shown.inputs, shown.labels, shown.sources).split(seed=0)
    with torch.no_grad():
        right = shown.model(shown.inputs[held]).argmax(1) == shown.labels[held]
    assert right.float().mean().item() == shown.scores["accuracy"]


def test_the_net_never_saw_the_held_out_images(monkeypatch):
    seen = []
    monkeypatch.setattr("training.subjects.digits._train", lambda model, inputs, *_: seen.append(inputs))
    untrained = trained_subject("digits")
    train, held = Activations(untrained.inputs, sources=untrained.sources).split(seed=0)
    assert seen[0].equal(untrained.inputs[train])
    assert not set(untrained.sources[train].tolist()) & set(untrained.sources[held].tolist())
    assert untrained.scores["accuracy"] < 0.3


def test_the_halves_of_the_images_share_none():
    halves = [subject("digits", half=half, step=0) for half in (0, 1)]
    assert [sorted(set(h.sources.tolist())) for h in halves] == [list(range(0, 1797, 2)), list(range(1, 1797, 2))]
    for name, half in (("digits", 2), ("ring", 0)):
        with pytest.raises(ValueError, match="half must be 0 or 1, and the subject digits"):
            subject(name, half=half)


def test_activations_are_the_layer(shown, activations):
    with torch.no_grad():
        assert torch.allclose(activations.x, shown.model.get_submodule(shown.layer)(shown.model.hidden(shown.inputs)))
    assert activations.x.shape == (12_000, 32)
    assert activations.labels.equal(shown.labels) and activations.sources.equal(shown.sources)
    assert activations.name == "digits" and activations.about["accuracy"] == shown.scores["accuracy"]


def test_no_column_has_ties(activations):
    for column in activations.x.T:
        assert len(column.unique()) > 0.99 * len(column)


def test_a_function_of_the_seed_alone(activations):
    state = torch.get_rng_state()
    torch.manual_seed(123)
    between = torch.get_rng_state()
    again, other = subject("digits"), subject("digits", seed=1, rows=2000)
    assert torch.get_rng_state().equal(between)
    torch.set_rng_state(state)
    assert again.x.equal(activations.x)
    assert other.x.shape == (2000, 32) and not other.x.equal(activations.x[:2000])


def test_subject_by_name():
    with pytest.raises(ValueError, match=r"no subject 'digit'; did you mean 'digits'\? valid: digits, rotated-digits"):
        subject("digit")


@pytest.mark.parametrize(
    ("name", "fewest"), [("digits", 1797), ("rotated-digits", 183), ("modular-addition", 3481), ("ring", 60)]
)
def test_too_few_rows(name, fewest):
    with pytest.raises(ValueError, match=f"rows must be at least {fewest}, .*, got 50; try rows=12000"):
        subject(name, rows=50)


@pytest.fixture(scope="module", params=[name for name in SUBJECTS if name != "digits"])
def other(request):
    return trained_subject(request.param, rows=6000)


def test_every_subject_solves_its_task_on_sources_it_never_saw(other):
    if "accuracy" in other.scores:
        assert other.scores["accuracy"] >= 0.95
    else:
        assert other.scores["median_error_degrees"] <= 12


def test_every_subject_has_one_row_of_everything(other):
    activations = other.activations()
    assert len(activations) == len(other.sources) == 6000 and activations.x.shape[1] == 12
    assert activations.name == other.name and set(other.scores.items()) <= set(activations.about.items())
    for column in activations.x.T:
        assert len(column.unique()) > 0.99 * len(column)
    assert not other.model.training


def test_a_pass_is_a_function_of_the_input(other, untouched_rng):
    with untouched_rng(), torch.no_grad():
        assert other.model(other.inputs[:50]).equal(other.model(other.inputs[:50]))


def test_the_layer_carries_the_angle(other):
    activations = other.activations()
    if activations.targets is None:  # its answer is a class
        assert other.name == "modular-addition" and len(activations.labels.unique()) == 59
        return
    angle = activations.targets[:, 0]
    train, held = activations.split()
    rows = torch.cat([activations.x, torch.ones(len(activations), 1)], dim=1)
    weights = torch.linalg.lstsq(rows[train], torch.stack([angle.cos(), angle.sin()], 1)[train]).solution
    assert angle_errors(rows[held] @ weights, angle[held]).median() < 12
    plane = torch.pca_lowrank(activations.x, 2)[2]
    radius = ((activations.x - activations.x.mean(0)) @ plane).norm(dim=1)
    assert radius.std() / radius.mean() < 0.25, "two principal components hold a circle"


def test_the_bottlenecks_noise_is_its_last_columns():
    model = Bottleneck(torch.nn.Identity(), 2, 3)
    inputs, seen = torch.randn(5, 4), []
    model.summary.register_forward_hook(lambda module, given, output: seen.append(output))
    model(inputs)
    assert torch.equal(seen[0], inputs[:, :2] + inputs[:, 2:])


def test_batches_show_every_row_once_in_each_epoch():
    batches = list(drawn_batches(10, 4, 6, torch.Generator().manual_seed(0)))
    assert [len(b) for b in batches] == [2, 4, 4, 2, 4, 4]
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(10))


def test_angle_errors_go_round_the_circle():
    answer = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert torch.allclose(angle_errors(answer, torch.tensor([6.2, -3.1])), torch.tensor([4.766, 2.383]), atol=1e-2)
