"""Does the suite notice a wrong formula? One sign or factor at a time is changed in a copy of the tree, and tests are run there.

    python tests/benchmarks/mutations.py            # all: about 10 s each
    python tests/benchmarks/mutations.py divergence masks

prints a line per mutation: red or GREEN, and the first test that failed. Exits with 1 if one stayed green.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COPIED = ("flows", "training", "analysis", "tests", "configs", "pyproject.toml")

# group: file, tests that should notice, and (what it is, what it says, what it is changed to)
MUTATIONS = {
    "divergence": (
        "flows/fused.py",
        "tests/test_field.py tests/test_flow.py",
        [
            ("sign of the divergence", "ladj = weights @ (d1K * d2).sum(2)", "ladj = -(weights @ (d1K * d2).sum(2))"),
            ("factor of C", "K = 16 * W2", "K = 8 * W2"),
            ("C not transposed", "torch.bmm(W3, W1).mT", "torch.bmm(W3, W1)"),
            ("its gradient to W", "grad_K = torch.bmm(d1.mT, d2_weighted)", "grad_K = -torch.bmm(d1.mT, d2_weighted)"),
            ("its gradient to layer 1", "grad_a1.addcmul_(grad_a1, s1, value=-2)", "grad_a1.addcmul_(grad_a1, s1, value=2)"),
        ],
    ),
    "kinetic energy": (
        "flows/fused.py",
        "tests/test_field.py tests/test_flow.py",
        [
            ("factor", "kinetic = weights @ velocities.square().sum(2)", "kinetic = 0.5 * weights @ velocities.square().sum(2)"),
            ("quadrature", "[1.0, 2.0, 2.0, 1.0]", "[1.0, 2.0, 1.0, 2.0]"),
            ("its gradient", "(2 * weights[:, None] * grad_kinetic)", "(weights[:, None] * grad_kinetic)"),
        ],
    ),
    "solver": (
        "flows/fused.py",
        "tests/test_field.py tests/test_flow.py",
        [
            ("last stage at half the step", "alpha=h if s % 4 == 3 else h / 2", "alpha=h / 2"),
            ("weights of the stages", ".add_(k[0]).add_(k[3]), alpha=h / 6)", ".add_(k[0]).add_(k[3]), alpha=h / 5)"),
        ],
    ),
    "masks": (
        "flows/exits.py",
        "tests/test_exits.py tests/test_flow.py",
        [
            ("direction", "(self.tau - times[:, None]) / self.width + 0.5", "(times[:, None] - self.tau) / self.width + 0.5"),
            ("offset", "/ self.width + 0.5)", "/ self.width + 0.25)"),
            ("width", "(self.tau - times[:, None]) / self.width", "(self.tau - times[:, None]) * self.width"),
            ("gradient at the edge", "at_one & (joint > 0)", "at_one & (grad < 0)"),
        ],
    ),
    "masks in the field": (
        "flows/fused.py",
        "tests/test_field.py tests/test_flow.py",
        [
            ("not on the input", "masks[:, :, None] * W1", "masks[:, :, None] ** 0 * W1"),
            ("not on the output", "W3 * masks[:, None]", "W3 * masks[:, None] ** 0"),
        ],
    ),
    "gates": (
        "flows/exits.py",
        "tests/test_exits.py tests/test_flow.py",
        [
            ("read at the wrong depth", "self.masks(self.tau.new_ones(1))[0]", "self.masks(self.tau.new_zeros(1))[0]"),
            ("shut too late", "return 1 - self.width / 2", "return 1 - self.width / 4"),
        ],
    ),
    "base": (
        "flows/base.py",
        "tests/test_base.py tests/test_flow.py",
        [
            ("variance of the mixture", "variances + centred.square()", "variances - 0.5 * centred.square()"),
            ("floor of the scales", "variances * shrink + SMALLEST_SCALE**2", "variances * shrink - SMALLEST_SCALE**2 / 2"),
            ("mean not taken off", "centred = self.means - pi @ self.means", "centred = self.means + pi @ self.means"),
            ("normaliser", "- sigma.log()\n        opened = is_open", "+ sigma.log()\n        opened = is_open"),
            ("channel law's noise", "sigma.square() + 1 - gates.square()\n        s", "sigma.square() + 1\n        s"),
            ("D's sign", "sign = 1 - 2 * is_open", "sign = 2 * is_open - 1"),
        ],
    ),
    "front": (
        "flows/front.py",
        "tests/test_front.py tests/test_flow.py",
        [
            ("log-det's sign", "return -self.scales[: self.", "return self.scales[: self."),
            ("rotation not orthogonal", "eye - skew) @ self.start", "eye - 0.5 * skew) @ self.start"),
            ("density at the floor", "0.5 * (self.used - self.", "1.0 * (self.used - self."),
        ],
    ),
    "loss": (
        "training/stages/objective.py",
        "tests/test_objective.py tests/test_fitting.py",
        [
            ("sign of the log-det", "log_base + solution.ladj", "log_base - solution.ladj"),
            ("L1 penalty at depth 1", "cost = gate_lam - gains", "cost = 2 * gate_lam - gains"),
            ("sign of D", "cost = gate_lam - gains", "cost = gate_lam + gains"),
            ("penalty over depth", "loss + depth_lam * rho", "loss - depth_lam * rho"),
            ("kappa", "loss, gains = nll + kappa * kinetic", "loss, gains = nll - kappa * kinetic"),
        ],
    ),
    "activation": (
        "flows/solver.py",
        "tests/test_flow.py tests/test_objective.py tests/test_field.py",
        [("masks in the penalty over depth", "by_stage * magnitudes", "(1 - by_stage) * magnitudes")],
    ),
    "worth": (
        "training/stages/selection.py",
        "tests/test_selection.py",
        [
            ("sign", "(means[a] - means[b]) / (b - a)", "(means[b] - means[a]) / (b - a)"),
            ("per dimension", "(means[a] - means[b]) / (b - a)", "means[a] - means[b]"),
            ("standard error", "_paired_error(J[a] - J[b]) / (b - a)", "_paired_error(J[a] - J[b])"),
            ("interval in log lambda", "np.log(v.high / max(v.low, null_worth))", "v.high - max(v.low, null_worth)"),
        ],
    ),
    "what is measured": (
        "training/stages/course.py",
        "tests/test_fitting.py",
        [
            ("J's kinetic energy", "nll + self.model.kappa * sol", "nll - self.model.kappa * sol"),
            ("J's log-det", "self.flow.gates) + solution.ladj", "self.flow.gates) - solution.ladj"),
            ("price of what leaves", "torch.where(left, progress.gains,", "torch.where(left, -progress.gains,"),
        ],
    ),
}  # fmt: skip


def tried(tree: Path, file: str, tests: str, before: str, after: str) -> str:
    """The first test that fails when ``before`` reads ``after``; "" if none does."""
    path = tree / file
    text = path.read_text(encoding="utf8")
    if text.count(before) != 1:
        raise SystemExit(
            f"{file} holds {before!r} {text.count(before)} times, expected once: bring MUTATIONS up to date"
        )
    path.write_text(text.replace(before, after), encoding="utf8")
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests.split()]
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    finally:
        path.write_text(text, encoding="utf8")
    if done.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else f"pytest exited with {done.returncode}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(MUTATIONS)}; default all")
    chosen = parser.parse_args().groups or list(MUTATIONS)
    red = count = 0
    with tempfile.TemporaryDirectory(prefix="unknot-mutations-") as folder:
        tree = Path(folder)
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        for group in chosen:
            file, tests, mutations = MUTATIONS[group]
            for what, before, after in mutations:
                started = time.monotonic()
                failed = tried(tree, file, tests, before, after)
                count, red = count + 1, red + bool(failed)
                seconds = time.monotonic() - started
                print(
                    f"{'red  ' if failed else 'GREEN'}  {group:18}  {what:34}  {failed}  ({seconds:.0f} s)", flush=True
                )
    print(f"{red} of {count} mutations are noticed")
    return int(red < count)


if __name__ == "__main__":
    sys.exit(main())
