"""Types that arrive: what the packages export, and every code block of README and guides, checked as a user's file."""

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import reader
from snippets import ROOT, guides, python_only, unbound

EXPORTERS = ["analysis", "analysis.alignment", "analysis.functions", "flows", "training"]
NAMES = [(package, name) for package in EXPORTERS for name in import_module(package).__all__]
UNKNOWN = {"object", "Any"}
FIT = """import numpy as np
import training
from analysis import Aligner
from training import FitResult

def fit(x: np.ndarray, aligner: Aligner) -> FitResult:
    reveal_type(aligner)
    reveal_type(training.fit(x))
    return training.fit(x)
"""


def as_file(guide):
    """The blocks of `guide` as a user's file: every line has its number in the guide, the second one what the reader has."""
    title, empty, *code = python_only(guide.read_text(encoding="utf8")).split("\n")
    assert not title + empty, f"{guide.name} has code on its first two lines; begin it with a title"
    needed = unbound("\n".join(code))
    imports = f"from reader import {', '.join(needed)}" if needed else ""
    return "\n".join(["# mypy: allow-redefinition", imports, *code, *revealing("\n".join(code))])


def revealing(code):
    """``reveal_type`` of every name that the top level of `code` assigns."""
    targets = [target for part in ast.parse(code).body if isinstance(part, ast.Assign) for target in part.targets]
    names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return [f"reveal_type({name})" for name in sorted(names)]


def users_files():
    """What mypy reads, by the name of the guide, or "exports", or "fit"."""
    exports = [f"import {package}" for package in EXPORTERS] + [f"reveal_type({'.'.join(name)})" for name in NAMES]
    return {"exports": "\n".join(exports), "fit": FIT, **{named(guide): as_file(guide) for guide in guides()}}


def named(guide):
    return guide.relative_to(ROOT).as_posix()


GUIDES = [named(guide) for guide in guides()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder outside the repository, with ``file_0.py``, ``file_1.py``, ... of `users_files`."""
    folder = tmp_path_factory.mktemp("user")
    for i, text in enumerate(users_files().values()):
        (folder / f"file_{i}.py").write_text(text, encoding="utf8")
    (folder / "reader.py").write_text(Path(reader.__file__).read_text(encoding="utf8"), encoding="utf8")
    return folder


def mypy(folder):
    """Reports of mypy: file, line from 1, severity, message. It shares the cache of the gate's run."""
    ours = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
    command = [
        sys.executable,
        "-m",
        "mypy",
        *ours,
        "--output=json",
        *sorted(path.name for path in folder.glob("file_*.py")),
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "MYPYPATH": str(ROOT)}
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    for line in done.stdout.splitlines():
        report = json.loads(line)
        yield report["file"], report["line"], report["severity"], report["message"]


def pyright(folder):
    """Reports of pyright, as of `mypy`."""
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "include": ["file_*.py"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    for report in json.loads(done.stdout)["generalDiagnostics"]:
        yield Path(report["file"]).name, report["range"]["start"]["line"] + 1, report["severity"], report["message"]


@pytest.fixture(scope="module", params=[mypy, pytest.param(pyright, marks=pytest.mark.slow)])
def said(request, folder):
    """What a type checker says of each of `users_files`: severity and "line: words"."""
    if request.param is pyright:
        pytest.importorskip("basedpyright", reason="pip install -c constraints.txt 'unknot[pyright]'")
    reports = list(request.param(folder))
    return {
        name: [(severity, f"{line}: {words}") for file, line, severity, words in reports if file == f"file_{i}.py"]
        for i, name in enumerate(users_files())
    }


def errors(reports):
    return [words for severity, words in reports if severity == "error"]


def revealed(reports):
    """The types in the reports' notes, `is "training.fitting.FitResult"`, without their modules."""
    types = [
        words.rsplit(' is "', 1)[1][:-1] for severity, words in reports if severity != "error" and ' is "' in words
    ]
    return [kind.split(".")[-1] if "(" not in kind else kind for kind in types]


def test_every_exported_name_has_a_type(said):
    assert not errors(said["exports"])
    types = dict(zip(NAMES, revealed(said["exports"]), strict=True))
    assert not {name: kind for name, kind in types.items() if kind in UNKNOWN}


def test_fit_gives_a_fit_result_and_exports_are_annotations(said):
    assert not errors(said["fit"])
    assert revealed(said["fit"]) == ["Aligner", "FitResult"]


@pytest.mark.parametrize("guide", GUIDES)
def test_every_code_block_checks_as_a_users_file(guide, said):
    assert not errors(said[guide]), "\n".join([f"{guide}, by line:", *errors(said[guide])])
    assert "object" not in revealed(said[guide])
