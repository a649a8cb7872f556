"""Subjects: small nets trained here, in seconds, and a language model that is read. Each file has ``train(seed, rows, step)``."""

from importlib import import_module

from flows.io.inputs import nearest
from training.data.activations import Activations
from training.subjects.common import Subject

SUBJECTS = {
    "digits": "digits",
    "rotated-digits": "rotated_digits",
    "modular-addition": "modular_addition",
    "ring": "ring",
}
PRETRAINED = {
    "smollm2": {"calendar": "days"},
    "smollm2-months": {"calendar": "months"},
}  # packages of their own: unknot[lm]


def trained_subject(
    name: str, seed: int = 0, rows: int = 12_000, step: int | None = None, half: int | None = None
) -> Subject:
    """Trains or reads the subject called `name`: the net, its layer, what to show it; only the first `step` steps where given.

    Of digits, `half` (0 or 1) is a half of the images to train on and to show.

    Raises:
        ValueError: no such subject, too few rows for it, a negative step, or a half of what has none.
    """
    if half is not None and (name != "digits" or half not in (0, 1)):
        raise ValueError(f"half must be 0 or 1, and the subject digits, got {half} and {name}; leave it out")
    if step is not None and step < 0:
        raise ValueError(f"step must be 0 or more, got {step}; None trains to the end")
    if name in PRETRAINED:
        return import_module("training.subjects.smollm2").train(seed, rows, step, **PRETRAINED[name])  # type: ignore[no-any-return]
    if name not in SUBJECTS:
        raise ValueError(f"no subject {name!r}; {nearest(name, [*SUBJECTS, *PRETRAINED])}")
    part = {} if half is None else {"half": half}
    return import_module(f"training.subjects.{SUBJECTS[name]}").train(seed, rows, step, **part)  # type: ignore[no-any-return]


def subject(
    name: str, seed: int = 0, rows: int = 12_000, step: int | None = None, half: int | None = None
) -> Activations:
    """Returns the activations of the layer of `trained_subject`, with labels, targets and sources.

    Raises:
        ValueError: as `trained_subject`.
    """
    return trained_subject(name, seed, rows, step, half).activations()
