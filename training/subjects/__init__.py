"""Subjects: small nets trained here, in seconds. Each file has ``train(seed, rows) -> Subject``."""

from importlib import import_module

from flows.inputs import nearest
from training.activations import Activations
from training.subjects.common import Subject

SUBJECTS = {
    "digits": "digits",
    "rotated-digits": "rotated_digits",
    "modular-addition": "modular_addition",
    "ring": "ring",
}


def trained_subject(name: str, seed: int = 0, rows: int = 12_000) -> Subject:
    """Trains the subject called `name`: the net, its layer and what to show it.

    Raises:
        ValueError: no such subject, or too few rows for it.
    """
    if name not in SUBJECTS:
        raise ValueError(f"no subject {name!r}; {nearest(name, SUBJECTS)}")
    return import_module(f"training.subjects.{SUBJECTS[name]}").train(seed, rows)


def subject(name: str, seed: int = 0, rows: int = 12_000) -> Activations:
    """Returns the activations of the layer of `trained_subject`, with labels, targets and sources.

    Raises:
        ValueError: no such subject, or too few rows for it.
    """
    return trained_subject(name, seed, rows).activations()
