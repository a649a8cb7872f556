"""Shared by all tests: seeds, the check on global random state, the ``slow`` marker, and flows to test."""

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from flows import FunnelFlow

torch.set_num_threads(1)  # two workers, two cores: see addopts


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; left out unless --slow is given")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    slow = [item for item in items if "slow" in item.keywords]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if "slow" not in item.keywords]


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def untouched_rng():
    """``with untouched_rng():`` fails if its body moves the global random state of python, numpy or torch."""

    def states():
        return {
            "python": random.getstate(),
            "numpy": repr(np.random.get_state()),
            "torch": torch.get_rng_state().tolist(),
        }

    @contextmanager
    def untouched():
        before = states()
        yield
        moved = [name for name, state in states().items() if state != before[name]]
        assert not moved, f"global random state was touched: {moved}"

    return untouched


@pytest.fixture
def make_flow():
    """Makes flows far from the identity; ``exits`` is "open", "mixed" or "shut"."""

    def make(dims=2, exits="mixed", law="bernoulli", strength=0.3, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        rows = normal(400, dims) @ (torch.eye(dims, dtype=torch.float64) + 0.4 * normal(dims, dims)) + 2
        flow = FunnelFlow.from_rows(rows, hidden=16, components=5, law=law, seed=seed)
        w = flow.exits.width
        mixed = torch.tensor(
            [1.03, 0.5, 1 + w / 2, -w / 2, 1 - w / 2]
        )  # leaving, left, stays, never enters, at the end
        taus = {"open": torch.full((dims,), 1 + w / 2), "mixed": mixed[:dims], "shut": torch.full((dims,), 1 - w / 2)}
        with torch.no_grad():
            flow.field.W3.copy_(strength * normal(*flow.field.W3.shape))
            flow.front.turn.copy_(0.3 * normal(dims, dims))
            flow.base.logits.copy_(normal(5))
            flow.base.means.copy_(normal(5, dims))
            flow.base.log_scales.copy_(0.3 * normal(5, dims) - 0.5)
            flow.exits.tau.copy_(taus[exits])
        return flow.to(dtype)

    return make
