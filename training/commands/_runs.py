"""What the verbs that read finished runs share: their flags, and the analyzer of a run folder."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer


def reader(verb: str, about: str, argv: list[str], **extras: bool) -> Namespace:
    """What the verbs that read runs are told."""
    parser = ArgumentParser(prog=f"unknot {verb}", description=about)
    parser.add_argument("run", help="folder of a finished run")
    if extras.get("other"):
        parser.add_argument("other", help="folder of another")
    else:
        parser.add_argument("--data", metavar="FILE", help="rows to look at instead of those the run kept")
        parser.add_argument("--key", help="name of the array within the file")
        parser.add_argument("--labels", metavar="FILE", help="one integer class per row of --data")
    if extras.get("out"):
        parser.add_argument("--out", metavar="FILE", help="where to write it (default RUN/report.html)")
    if extras.get("json"):
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--seed", type=int, default=0, help="draws subsamples and resamples")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (1 is as fast as 2); 0 leaves it to the libraries"
    )
    return parser.parse_args(argv)


def analyzer_of(run: str, given: Namespace) -> "Analyzer":
    import torch
    from threadpoolctl import threadpool_limits

    from analysis.analyzer import Analyzer

    if given.threads > 0:
        torch.set_num_threads(given.threads)
        threadpool_limits(given.threads)  # small matrices: two threads that share a busy core wait for one another
    if getattr(given, "data", None) is None:
        return Analyzer.load(run, seed=given.seed)
    from training.activations import read_activations

    rows = read_activations(given.data, given.key, given.labels, None)
    return Analyzer.load(run, rows.x, None if rows.labels is None else rows.labels.numpy(), seed=given.seed)
