"""The report in a real browser: nothing on the console, so no error and, its policy being to log them, no request."""

import shutil
import subprocess

import pytest
from test_analyzer import exact_flow

from analysis import Analyzer

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
    "--dump-dom",
]


def console(page, profile):
    """What the browser writes of the page's console, and the page as it stands after its scripts have run."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stdout


def test_the_report_says_nothing_on_the_console(tmp_path):
    flow, made = exact_flow("sphere", rows=1200)
    report = Analyzer(flow, made.x, made.labels).report(tmp_path / "report.html")
    said, page = console(report, tmp_path / "profile")
    assert said == [] and "What could make this wrong" in page and "<canvas" in page
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(report.read_text().replace("</body>", '<img src="http://127.0.0.1:9/x.png"></body>'))
    said, _ = console(spoilt, tmp_path / "other")
    assert said and "Content Security Policy" in said[0], "a request would have been seen"
