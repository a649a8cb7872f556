"""Imports: `import flows` is light, and they run one way, training -> flows <- analysis."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parents[1]
OURS = {"flows", "training", "analysis"}
COMPOSITION_ROOT = "training/commands/"
FILES = sorted(path.relative_to(ROOT).as_posix() for package in OURS for path in (ROOT / package).rglob("*.py"))


def imported(source):
    """Top-level names of every import in ``source``, those inside functions and import_module("...") too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (
                part.value.split(".")[0] for part in ast.walk(node) if isinstance(getattr(part, "value", 0), str)
            )


def against_the_way(file):
    """Packages of ours that `file` may not import, and does."""
    allowed = OURS if file.startswith(COMPOSITION_ROOT) else {file.split("/")[0], "flows"}
    return (set(imported((ROOT / file).read_text(encoding="utf8"))) & OURS) - allowed


def test_imports_run_one_way():
    assert not {file: wrong for file in FILES if (wrong := against_the_way(file))}


def test_every_kind_of_import_is_seen():
    source = (
        "import analysis.a\ndef f():\n from training.b import c\n import_module('flows.d')\n import_module(f'os.{x}')"
    )
    assert set(imported(source)) == {"analysis", "training", "flows", "os"}
    assert {"flows/flow.py", "training/fitting.py"} <= set(FILES)


def loaded_by(statement):
    """Top-level modules in a fresh interpreter after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in out.split()}


def test_import_flows_is_light():
    loaded = loaded_by("import flows; flows.FunnelFlow(2); flows.load")
    assert "torch" in loaded
    assert not loaded & {"lightning", "matplotlib", "sklearn", "scipy", "training", "analysis"}


def test_bare_imports_load_no_torch():
    assert "torch" not in loaded_by("import flows, training")
