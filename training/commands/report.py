"""``unknot report``: what the analyzer says with pictures, as one offline HTML file."""

from pathlib import Path

from training.commands._runs import analyzer_of, reader


def main(argv: list[str]) -> int:
    """``unknot report RUN [--out FILE]``: one offline HTML file."""
    given = reader("report", "Write the report of a finished run as one offline HTML file.", argv, out=True)
    print(f"report: {analyzer_of(given.run, given).report(given.out or Path(given.run) / 'report.html')}")
    return 0
