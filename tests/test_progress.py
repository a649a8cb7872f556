"""Bars: on a terminal, for what takes long, and never in what is printed."""

import io

import pytest

from analysis.progress import tracked

pytestmark = pytest.mark.quick


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_steps_pass_through_in_silence(capsys):
    assert list(tracked(range(5), "counting")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_after_two_seconds_and_clears_it(monkeypatch):
    terminal, now = Terminal(), [0.0]
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    shown = []
    for _ in tracked(range(5), "counting", "row"):
        now[0] += 0.9
        shown.append("counting" in terminal.getvalue())
    assert shown[:2] == [False, False] and shown[-1]
    assert terminal.getvalue().endswith("\r")
