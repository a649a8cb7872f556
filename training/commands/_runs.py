"""What the verbs that read finished runs share: their flags, the analyzer of a run folder, and the net that it is of."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands._parser import Parser

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer
    from flows.nets.questions import Question


def reader(verb: str, about: str, argv: list[str], **extras: bool) -> Namespace:
    """What the verbs that read runs are told."""
    parser = Parser(verb, about)
    parser.add_argument("run", help="folder of a finished run")
    if extras.get("other"):
        parser.add_argument("other", help="folder of the run to compare it with")
    else:
        group = parser.add_argument_group("rows to look at, instead of those that the run kept")
        Parser.add_rows(group)  # type: ignore[arg-type]
        group.add_argument(
            "--labels", metavar="NAME|FILE", help="one integer class per row: an array in FILE, or a .npy file"
        )
        group.add_argument("--unseen", action="store_true", help="the flow was fitted to none of them: certify on them")
    if extras.get("out"):
        parser.add_argument("--out", metavar="FILE", help="where to write it (default RUN/report.html)")
    parser.add_common("draws subsamples and resamples", threads=1, json=bool(extras.get("json")))
    return parser.read(argv)


def analyzer_of(run: str, given: Namespace) -> "Analyzer":
    import torch
    from threadpoolctl import threadpool_limits

    from analysis.analyzer import Analyzer

    if given.threads > 0:
        torch.set_num_threads(given.threads)
        threadpool_limits(given.threads)  # small matrices: two threads that share a busy core wait for one another
    if getattr(given, "data", None) is None:
        return Analyzer.load(run, seed=given.seed)
    from training.data.activations import read_activations

    rows = read_activations(given.data, given.key, given.labels, None)
    labels = None if rows.labels is None else rows.labels.numpy()
    return Analyzer.load(run, rows.x, labels, given.seed, True if given.unseen else None)


def ask_its_net(analyzer: "Analyzer", given: Namespace) -> None:
    """Give the analyzer what comes after the layer, where the run is of a subject, which is trained again in seconds.

    Where that gives other rows, as rounding of another machine may, the net is not asked, and a line says so.
    """
    if analyzer.run is None or given.data is not None:
        return
    question = _question(analyzer.run.folder / "config.yaml")
    if question is None:
        return
    import torch

    from analysis.causal.asking import check_rows

    try:
        check_rows(question.head, analyzer.x, torch.from_numpy(analyzer.rows))
    except ValueError as error:
        print(f"the net is not asked: it was trained again from the run's config.yaml, and {error}", file=sys.stderr)
    else:
        analyzer.question = question


def _question(config: Path) -> "Question | None":
    """What comes after the layer of the subject that a run's settings name; None where they name none."""
    if not config.is_file() or "subject:" not in config.read_text(encoding="utf8"):
        return None
    from training.runtime.options import fit_options
    from training.subjects import trained_subject

    options = fit_options(["--config", str(config)])
    data = options.data
    if data.subject is None:
        return None
    return trained_subject(data.subject, options.seed, data.rows, data.step, data.half).question()
