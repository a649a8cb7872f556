"""``unknot align``: the map between the layers of two runs, without pairs."""

import json
from argparse import Namespace
from pathlib import Path

from training.commands._parser import Parser


def main(argv: list[str]) -> int:
    """``unknot align RUN RUN``: what goes where, what stays ambiguous; ``--out`` writes it with pictures as one HTML file."""
    from training.commands._runs import analyzer_of

    given = _options(argv)
    from analysis.alignment.aligner import Aligner

    a, b = analyzer_of(given.run, given), analyzer_of(given.other, given)
    labels = None
    if given.use_labels:
        for folder, side in ((given.run, a), (given.other, b)):
            if side.labels is None:
                raise ValueError(f"{folder} kept no labels; leave --use-labels out, or fit it again with --labels")
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


def _options(argv: list[str]) -> Namespace:
    parser = Parser(
        "align",
        "Find the map between the structure of two finished runs, without paired rows; say whether it is unique.",
    )
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("other", help="folder of the run to align it with")
    parser.add_argument("--out", metavar="FILE", help="write a report too, as one offline HTML file")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument(
        "--piece", nargs=2, type=int, metavar=("A", "B"), help="align only piece A of RUN with piece B of OTHER"
    )
    alone.add_argument(
        "--loop",
        nargs=2,
        type=int,
        metavar=("A", "B"),
        help="align only loop A with loop B, as unknot analyze numbers them",
    )
    parser.add_argument("--use-labels", action="store_true", help="use the labels that both runs kept as evidence")
    parser.add_argument(
        "--correction",
        choices=("affine", "flow"),
        help="allow a non-rigid map after the rigid one; it is kept where it predicts held-out rows better",
    )
    parser.add_argument(
        "--rows", type=int, default=600, metavar="N", help="rows of each run to search with (default 600)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=15.0,
        metavar="DEGREES",
        help="maps closer than this count as one (default 15)",
    )
    parser.add_argument(
        "--no-proportions", action="store_true", help="leave the shares of the rows that pieces hold out of account"
    )
    parser.add_common("draws rows, starts and halves", json=True)
    return parser.read(argv)
