"""Maps over kappa side by side, of folders that ``unknot sweep`` wrote.

    unknot sweep --null-worth 0.03 --threads 1 --data.planted torus --out maps/torus             # 10 minutes on one core
    unknot sweep --null-worth 0.03 --threads 1 --data.planted swiss_roll --out maps/swiss_roll
    unknot sweep --null-worth 0.03 --threads 1 -c rotated-digits --out maps/rotated-digits       # 5 minutes
    unknot sweep --null-worth 0.03 --threads 1 -c digits --out maps/digits                       # 10 minutes
    python tests/benchmarks/kappa_maps.py maps/torus maps/swiss_roll maps/rotated-digits maps/digits

Prints every table and writes tests/benchmarks/figures/kappa-maps.png.
"""

import argparse
from pathlib import Path

PICTURE = Path(__file__).parent / "figures" / "kappa-maps.png"


def main() -> None:
    from matplotlib.figure import Figure

    from training.kappa_map import KappaMap

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    folders = parser.parse_args().folders
    figure = Figure(figsize=(15, 3.4 * ((len(folders) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(folders) + 1) // 2, 2, squeeze=False).ravel()
    for ax in panels[len(folders) :]:
        ax.set_axis_off()
    for ax, folder in zip(panels, folders, strict=False):
        found = KappaMap.load(folder)
        print(f"{folder.name}\n{found}\n")
        found.plot(ax).set_title(f"{folder.name}: k = {found.structure_dim} over the widest range")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=90)


if __name__ == "__main__":
    main()
