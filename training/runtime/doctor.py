"""What is installed, what it runs on, and whether our packages are the ones that were imported."""

import importlib.util
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = (
    "unknot",
    "torch",
    "torchdiffeq",
    "lightning",
    "numpy",
    "matplotlib",
    "scikit-learn",
    "gudhi",
    "ripser",
    "jsonargparse",
)
_PACKAGES = ("flows", "training", "analysis")


def report(directory: Path, presets: list[str]) -> tuple[list[str], bool]:
    """Lines to print, and whether all three packages come from one place.

    A user's own folder ``analysis/`` or ``training/`` in ``directory`` can shadow ours, or be shadowed by it.
    """
    import torch

    lines = [f"python        {platform.python_version()} on {platform.platform()}"]
    for name in _LIBRARIES:
        try:
            lines.append(f"{name:13} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name:13} not installed")
    cuda = f"{torch.cuda.device_count()} CUDA device(s)" if torch.cuda.is_available() else "no CUDA device"
    lines += [
        f"device        cpu with {torch.get_num_threads()} threads, {cuda}",
        f"presets       {', '.join(presets)}",
    ]
    home = Path(__file__).resolve().parents[2]
    healthy = True
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        lines.append(f"{name:13} {found or 'a folder without __init__.py'}")
        if found != home / name:
            healthy = False
            lines.append(
                f"problem: '{name}' is imported from {found or directory / name}, not from unknot ({home / name}); "
                f"a folder or file of that name shadows ours: rename it, or run from another directory"
            )
        elif (directory / name).is_dir() and (directory / name).resolve() != found:
            lines.append(
                f"note: your own folder {directory / name} bears the name of an unknot package; 'python' started here "
                f"would import yours instead of ours: rename it if 'import {name}' surprises you"
            )
    lines.append("all is well" if healthy else "one of the packages is not ours: see 'problem' above")
    return lines, healthy
