"""``unknot compare``: two finished runs side by side."""

from training.commands._runs import analyzer_of, reader


def main(argv: list[str]) -> int:
    """``unknot compare RUN RUN``: a table; rows that differ are starred."""
    from analysis.reports.compare import compare

    given = reader("compare", "Two finished runs side by side; what differs is starred.", argv, other=True)
    print(compare(analyzer_of(given.run, given), analyzer_of(given.other, given)))
    return 0
