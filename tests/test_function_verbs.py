"""``unknot factorize`` and ``unknot fibre``: a user's function, a subject, and what they are told wrongly."""

import json

import numpy as np
import pytest

from training.cli import main

pytestmark = pytest.mark.quick

MAPS = """
import torch

x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))

def norm(x):
    return x.square().sum(1, keepdim=True)

def pair():
    return norm, x

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)
    def forward(self, x):
        return self.b(self.a(x).tanh())

net = Net()
both = (net, x)
"""


@pytest.fixture
def maps(tmp_path, monkeypatch):
    (tmp_path / "maps_for_verbs.py").write_text(MAPS, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    np.save("x.npy", np.random.default_rng(0).normal(size=(300, 2)).astype("float32"))
    return "maps_for_verbs"


def test_fibre_of_a_users_function(maps, capsys):
    assert main(["fibre", f"{maps}:norm", "--inputs", "x.npy", "--value", "1", "--figure", "circle"]) == 0
    assert capsys.readouterr().out.startswith("Fibre over (1): a circle, of dimension 1")
    assert main(["fibre", f"{maps}:pair", "--row", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fibre"]["kinds"] == "{'circle': 1}"


def test_factorize_a_users_net(maps, capsys):
    assert main(["factorize", f"{maps}:both", "--start", "a"]) == 0
    assert capsys.readouterr().out.startswith("Factorization: rank 1 (full rank) at 100% of 200 rows, R^3 -> R^1")
    assert main(["factorize", f"{maps}:net", "--inputs", "x.npy", "--table", "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["ranktable"]["pairs"]
    assert [(p["start"], p["end"], p["rank"]) for p in pairs] == [("input", "a", 2), ("input", "b", 1), ("a", "b", 1)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["factorize", "digitz"], "did you mean 'digits'?"),
        (["factorize", "digits", "--inputs", "x.npy"], "a subject brings its own inputs"),
        (["factorize", "maps_for_verbs:net"], "without inputs; say what to show it with --inputs"),
        (["factorize", "maps_for_verbs:x", "--inputs", "x.npy"], "gave Tensor, expected a function"),
        (["factorize", "maps_for_verbs:pair", "--table"], "--table takes a torch module"),
        (["fibre", "maps_for_verbs:pair", "--row", "999"], "--row 999 is none of the 300 inputs"),
        (["fibre", "maps_for_verbs:pair", "--value", "1", "2"], "one entry for each of 1 outputs, got 2"),
    ],
)
def test_errors_say_what_to_do(maps, capsys, argv, message):
    assert main(argv) == 1
    assert message in capsys.readouterr().err
