"""Where presets live, and what ``-c NAME`` means."""

from pathlib import Path


def preset_folder() -> Path:
    """``training/configs`` in an installed wheel, else ``configs/`` of the checkout."""
    packaged = Path(__file__).parents[1] / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def preset_names() -> list[str]:
    """Names that ``-c`` knows, sorted."""
    return sorted(p.stem for p in preset_folder().glob("*.yaml"))


def resolve(name: str) -> str:
    """The file that ``-c NAME`` means: a suffix or a slash makes it a path, anything else a preset.

    Raises:
        ValueError: no such preset (the nearest are offered) or no such file.
    """
    if "/" in name or "\\" in name or Path(name).suffix:
        if not Path(name).is_file():
            raise ValueError(f"no config file {name!r} in {Path.cwd()}; presets by name: {', '.join(preset_names())}")
        return name
    file = preset_folder() / f"{name}.yaml"
    if not file.is_file():
        from difflib import get_close_matches

        near = get_close_matches(name, preset_names(), 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"no preset {name!r}; {hint}valid: {', '.join(preset_names())}; a path needs a suffix or a slash"
        )
    return str(file)


def resolve_argv(argv: list[str]) -> list[str]:
    """``argv`` with every ``-c NAME``, ``--config NAME`` and ``--config=NAME`` resolved to a file."""
    resolved = list(argv)
    for i, word in enumerate(argv):
        if word in ("-c", "--config") and i + 1 < len(argv):
            resolved[i + 1] = resolve(argv[i + 1])
        elif word.startswith("--config="):
            resolved[i] = "--config=" + resolve(word.partition("=")[2])
    return resolved
