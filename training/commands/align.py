"""``unknot align``: the map between the layers of two runs, without pairs."""

import json
from argparse import ArgumentParser
from pathlib import Path


def main(argv: list[str]) -> int:
    """``unknot align RUN RUN``: what goes where, what stays ambiguous; ``--out`` writes it with pictures as one HTML file."""
    from training.commands._runs import analyzer_of

    parser = ArgumentParser(
        prog="unknot align", description="Align the structure of two finished runs without paired samples."
    )
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("other", help="folder of another")
    parser.add_argument("--out", metavar="FILE", help="write the report there, as one offline HTML file")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument(
        "--piece", nargs=2, type=int, metavar=("A", "B"), help="align piece A of the first with B of the other alone"
    )
    alone.add_argument(
        "--loop", nargs=2, type=int, metavar=("A", "B"), help="the same of loops, numbered as unknot analyze does"
    )
    parser.add_argument("--labels", action="store_true", help="use the labels that both runs kept as evidence")
    parser.add_argument(
        "--correction",
        choices=("affine", "flow"),
        help="non-rigid steps after the rigid map, kept where they win",
    )
    parser.add_argument("--rows", type=int, default=600, help="rows a side that the search looks at (default 600)")
    parser.add_argument("--tolerance", type=float, default=15.0, help="degrees within which two maps count as one")
    parser.add_argument(
        "--no-proportions", action="store_true", help="leave the shares of the rows that pieces hold out of account"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--seed", type=int, default=0, help="draws rows, starts and halves")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    given = parser.parse_args(argv)
    from analysis.alignment.aligner import Aligner

    a, b = analyzer_of(given.run, given), analyzer_of(given.other, given)
    labels = None
    if given.labels:
        for folder, side in ((given.run, a), (given.other, b)):
            if side.labels is None:
                raise ValueError(f"{folder} kept no labels; leave --labels out, or fit it again with --data.labels")
        labels = (a.labels, b.labels)
    aligner = Aligner(
        given.tolerance, given.rows, given.correction, seed=given.seed, proportions=not given.no_proportions
    )
    aligner.fit(a, b, labels=labels, piece=given.piece, loop=given.loop)  # type: ignore[arg-type]
    print(json.dumps(aligner.to_dict()) if given.json else aligner.verdict())
    if given.out:
        report = aligner.report(Path(given.out))
        if not given.json:
            print(f"\nreport: {report}")
    return 0
