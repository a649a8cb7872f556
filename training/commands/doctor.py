"""``unknot doctor``: versions, devices and which folders were imported."""

from pathlib import Path

from training.runtime.presets import preset_names


def main(argv: list[str]) -> int:
    """``unknot doctor``: 0 if all is well, 1 if a package is shadowed."""
    if argv:
        print("usage: unknot doctor\nPrints versions, devices and which folders were imported.")
        return 0 if argv[0] in ("-h", "--help") else 2
    from training.runtime.doctor import report

    lines, healthy = report(Path.cwd(), preset_names())
    print("\n".join(lines))
    return 0 if healthy else 1
