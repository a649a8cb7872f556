"""The digits subject: shown several times, split by image, accurate, a function of the seed."""

import pytest
import torch
from sklearn.datasets import load_digits

from training.activations import Activations
from training.subjects import SUBJECTS, digits, digits_subject, subject


@pytest.fixture(scope="module")
def shown():
    return digits_subject(seed=0)


@pytest.fixture(scope="module")
def activations():
    return digits(seed=0)


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
    assert shown.accuracy >= 0.95
    _, held = Activations(shown.inputs, shown.labels, shown.sources).split(seed=0)
    with torch.no_grad():
        right = shown.model(shown.inputs[held]).argmax(1) == shown.labels[held]
    assert right.float().mean().item() == shown.accuracy


def test_the_net_never_saw_the_held_out_images(monkeypatch):
    seen = []
    monkeypatch.setattr("training.subjects._train", lambda model, inputs, labels, generator: seen.append(inputs))
    untrained = digits_subject(seed=0)
    train, held = Activations(untrained.inputs, sources=untrained.sources).split(seed=0)
    assert seen[0].equal(untrained.inputs[train])
    assert not set(untrained.sources[train].tolist()) & set(untrained.sources[held].tolist())
    assert untrained.accuracy < 0.3


def test_activations_are_the_layer(shown, activations):
    with torch.no_grad():
        assert torch.allclose(activations.x, shown.model.get_submodule(shown.layer)(shown.model.hidden(shown.inputs)))
    assert activations.x.shape == (12_000, 32)
    assert activations.labels.equal(shown.labels) and activations.sources.equal(shown.sources)
    assert activations.name == "digits" and activations.about["accuracy"] == shown.accuracy


def test_no_column_has_ties(activations):
    for column in activations.x.T:
        assert len(column.unique()) > 0.99 * len(column)


def test_a_function_of_the_seed_alone(activations):
    state = torch.get_rng_state()
    torch.manual_seed(123)
    between = torch.get_rng_state()
    again, other = digits(seed=0), digits(seed=1, rows=2000)
    assert torch.get_rng_state().equal(between)
    torch.set_rng_state(state)
    assert again.x.equal(activations.x)
    assert other.x.shape == (2000, 32) and not other.x.equal(activations.x[:2000])


def test_subject_by_name(monkeypatch):
    monkeypatch.setitem(SUBJECTS, "digits", lambda **settings: settings)
    assert subject("digits", seed=2, rows=3000) == {"seed": 2, "rows": 3000}
    with pytest.raises(ValueError, match=r"no subject 'digit'; did you mean 'digits'\? valid: digits"):
        subject("digit")


def test_too_few_rows():
    with pytest.raises(ValueError, match="rows must be at least 1797, one for each image, got 100"):
        digits_subject(rows=100)
