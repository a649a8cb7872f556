"""From data settings to activations."""

from flows.io.inputs import nearest
from training.data.activations import Activations, read_activations
from training.runtime.options import DataSettings


def read_data(settings: DataSettings, seed: int) -> Activations:
    """Activations named by exactly one of ``settings.subject``, ``.planted`` and ``.file``.

    Raises:
        ValueError: none or several of them, and all that the reader refuses.
    """
    named = [name for name in ("subject", "planted", "file") if getattr(settings, name) is not None]
    if len(named) != 1:
        raise ValueError(
            f"data needs exactly one of data.subject, data.planted and data.file, got {' and '.join(named) or 'none'}; "
            "for instance: unknot fit -c digits, or: unknot fit --data acts.npy"
        )
    for name in ("step", "half"):
        if getattr(settings, name) is not None and settings.subject is None:
            raise ValueError(
                f"data.{name} is of a subject's training, got {getattr(settings, name)} with data.{named[0]}; leave it out"
            )
    if settings.order is not None and settings.file is None:
        raise ValueError(f"data.order is of rows in a file, got {settings.order!r} with data.{named[0]}; leave it out")
    if settings.subject is not None:
        from training.subjects import subject

        return subject(settings.subject, seed=seed, rows=settings.rows, step=settings.step, half=settings.half)
    if settings.planted is not None:
        from training.data.planting import PLANTED_NAMES, planted

        if settings.planted not in PLANTED_NAMES:
            raise ValueError(f"no planted structure {settings.planted!r}; {nearest(settings.planted, PLANTED_NAMES)}")
        made = planted(settings.planted, settings.rows, settings.noise_dims, seed, settings.diffeo)
        angles = made.angles if made.angles.shape[1] else None
        name = f"{settings.planted} x {settings.noise_dims}"
        return Activations(made.x, labels=made.labels, targets=angles, name=name)
    assert settings.file is not None
    return read_activations(
        settings.file, settings.key, settings.labels, settings.groups, settings.nuisance, settings.order
    )
