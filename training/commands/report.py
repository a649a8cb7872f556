"""``unknot report``: what the analyzer says with pictures, as one offline HTML file."""

from pathlib import Path

from training.commands._runs import analyzer_of, ask_its_net, reader


def main(argv: list[str]) -> int:
    """``unknot report RUN [--out FILE]``: one offline HTML file."""
    given = reader("report", "Write the report of a finished run as one offline HTML file.", argv, out=True)
    analyzer = analyzer_of(given.run, given)
    ask_its_net(analyzer, given)
    print(f"report: {analyzer.report(given.out or Path(given.run) / 'report.html')}")
    return 0
