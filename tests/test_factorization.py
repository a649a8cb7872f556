"""Factorization: ranks against noise, the same in all coordinates; layers; summaries and bottlenecks."""

import json
import math

import numpy as np
import pytest
import torch

from analysis.functions.factorization import factorize
from analysis.functions.freedom import coordinate_freedom
from analysis.functions.jacobians import singular_values
from analysis.functions.layers import row_function
from analysis.functions.noise import Noise
from analysis.functions.tables import rank_table
from flows.diffeo import StrongDiffeo


def gaussian(count, dims, seed=0):
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def through(rank, dims=8, residual=0.0, seed=0):
    """A smooth function R^dims -> R^dims through R^rank, and a residual of full rank."""
    a, b = gaussian(dims, rank, seed) / dims**0.5, gaussian(rank, dims, seed + 1)
    c, d = gaussian(dims, dims, seed + 2) / dims**0.5, gaussian(dims, dims, seed + 3) / dims**0.5

    def f(x):
        h = x @ a
        return (h + 0.3 * h.tanh()) @ b + 0.2 * (h @ b).sin() + residual * (x @ c).tanh() @ d

    return f


class Net(torch.nn.Module):
    """first (6 -> 5), narrow (5 -> 2), last (2 -> 4), and dropout that must not be seen."""

    def __init__(self):
        super().__init__()
        self.first, self.narrow, self.last = torch.nn.Linear(6, 5), torch.nn.Linear(5, 2), torch.nn.Linear(2, 4)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.drop(self.narrow(self.drop(self.first(x)).tanh()).sin()))


@pytest.mark.parametrize("rank", [1, 3])
def test_ranks_of_planted_functions(rank, untouched_rng):
    with untouched_rng():
        found = factorize(through(rank, residual=0.01), gaussian(150, 8))
    assert found.rank == rank and found.is_consistent and not found.is_full and found.gap > 5
    assert not found.sketched and found.singular_values.shape == (150, 8)
    assert factorize(lambda x: x + 0.3 * x.tanh(), gaussian(50, 4)).is_full


def test_singular_values_are_those_of_the_whitened_jacobian():
    f, x = through(2, 5), gaussian(20, 5)
    sx, sy = (torch.eye(5).double() + 0.3 * m @ m.T for m in (gaussian(5, 5, 3), gaussian(5, 5, 4)))
    found = factorize(f, x, input_noise=sx, output_noise=sy)
    j = torch.func.vmap(torch.func.jacrev(lambda row: f(row[None])[0]))(x)
    lx, ly = torch.linalg.cholesky(sx), torch.linalg.cholesky(sy)
    expected = torch.linalg.svdvals(torch.linalg.solve(ly, j @ lx))
    assert np.allclose(found.singular_values, expected, atol=1e-6)


def test_wide_functions_go_forward():
    f, x = (lambda x: torch.cat([x.sin(), x * x, x[:, :1] * x], 1).repeat(1, 3)), gaussian(10, 3)
    j = torch.func.vmap(torch.func.jacrev(lambda row: f(row[None])[0]))(x)
    found = factorize(f, x, input_noise=1.0, output_noise=1.0)
    assert np.allclose(found.singular_values, torch.linalg.svdvals(j), atol=1e-6)


@pytest.mark.parametrize(("rank", "width"), [(3, 26), (40, 58)])
def test_sketches_agree_with_the_whole(rank, width):
    f, x = through(rank, 200, 0.01), gaussian(6, 200)
    function, rows = row_function(f, x, None, None)
    noise = Noise(1.0, 200), Noise(0.1 * float(f(x).std()), 200)
    whole, _ = singular_values(function, rows, *noise, 200, 200, 0)
    some, sketched = singular_values(function, rows, *noise, 200, 100, 0)
    assert sketched and some.shape == (6, width)
    assert (some <= whole[:, :width] * (1 + 1e-6)).all()
    assert torch.allclose(some[:, :rank], whole[:, :rank], rtol=1e-3)
    assert ((some > 1).sum(1) == (whole > 1).sum(1)).all()


def test_many_directions_end_the_sketch():
    found = factorize(lambda x: x * 1.0, gaussian(3, 70), sketch_above=64)
    assert found.is_full and not found.sketched


def test_claims_hold_in_strong_coordinates_and_a_bare_threshold_does_not():
    f, x = through(2, 6, 0.01), gaussian(60, 6)

    def carried(view):
        return factorize(
            view.function, view.x, input_noise=view.input_noise(), output_noise=view.output_noise()
        )  # fmt: skip

    found = coordinate_freedom(carried, x, 20, function=f)
    assert not found.broken
    assert {"rank", "ranks", "spectrum", "gap"} <= set(found.invariant)
    bare = coordinate_freedom(lambda view: factorize(view.function, view.x), x, 3, function=f)
    assert "spectrum" in bare.broken


def test_carried_noise_is_dphi_s_dphi_t():
    """The invariance is no accident of charts that cancel: the same with covariance matrices worked out by hand."""
    f, x = through(2, 4), gaussian(12, 4)
    phi, psi = StrongDiffeo(x, 0), StrongDiffeo(f(x), 1)

    def slopes(g, at):
        return torch.func.vmap(torch.func.jacrev(lambda row: g(row[None])[0]))(at)

    j = slopes(lambda rows: psi(f(phi.inverse(rows))), phi(x))
    sx = slopes(phi, x) @ slopes(phi, x).mT
    sy = 0.01 * slopes(psi, f(x)) @ slopes(psi, f(x)).mT
    eigenvalues = torch.linalg.eigvals(torch.linalg.solve(sy, j @ sx @ j.mT)).real.sort(descending=True).values
    found = factorize(f, x, input_noise=1.0, output_noise=0.1)
    assert np.allclose(found.singular_values[:, :2] ** 2, eigenvalues[:, :2], rtol=1e-6)


def test_regions_of_constant_rank():
    x = torch.cat([gaussian(100, 2) * 0.2 - 3, gaussian(60, 2) * 0.2 + 3])
    found = factorize(lambda x: torch.stack([x[:, 0], x[:, 1].clamp(min=0)], 1), x)
    assert [(r.rank, len(r.rows), r.pieces) for r in found.regions] == [(1, 100, 1), (2, 60, 1)]
    assert found.rank == 1 and found.agreement == 100 / 160 and not found.is_consistent
    assert "constant-rank regions: rank 1: 100 rows in 1 piece, rank 2" in repr(found)


def test_ranks_that_vary_are_marked_in_print_and_picture():
    x = torch.cat([gaussian(100, 2) * 0.2 - 3, gaussian(60, 2) * 0.2 + 3]).float()
    net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2))
    table = rank_table(net, torch.cat([x, x * torch.tensor([-1.0, 1.0])]), ["0", "1"])
    drawn = [text.get_text() for text in table.plot().texts]
    assert "~" in "".join(drawn[:1]) and "2~" not in drawn and "~" in repr(table).splitlines()[1]
    assert "~: fewer than 95 % of the rows" in table.plot().get_title()


def test_regions_count_their_pieces():
    x = torch.cat([gaussian(80, 2) * 0.2 + shift for shift in (-3, 0, 3)])
    found = factorize(lambda x: torch.stack([x[:, 0], (x[:, 1].abs() - 1.5).clamp(min=0)], 1), x)
    assert [(r.rank, len(r.rows), r.pieces) for r in found.regions] == [(2, 160, 2), (1, 80, 1)]


def test_a_piece_holds_two_percent_of_the_rows():
    def pieces(few):  # the first column flattens in two far groups: one of 100 rows, one of a few
        x = torch.cat([gaussian(100, 2) * 0.2 - 3, gaussian(900, 2, 1) * 0.2, gaussian(few, 2, 2) * 0.2 + 3])
        found = factorize(lambda x: torch.stack([x[:, 0], (1.5 - x[:, 1].abs()).clamp(min=0)], 1), x)
        return [(r.rank, len(r.rows), r.pieces) for r in found.regions]

    assert pieces(16) == [(2, 900, 1), (1, 116, 1)]
    assert pieces(25) == [(2, 900, 1), (1, 125, 2)]


def test_a_singular_value_counts_above_one():
    """One is where the input's noise reaches the output as strongly as the output's own."""
    found = factorize(
        lambda x: x * torch.tensor([1.02, 0.98]).to(x), gaussian(20, 2), input_noise=1.0, output_noise=1.0
    )
    assert (found.rank, found.gap) == (1, pytest.approx(1.02 / 0.98, rel=1e-6))


def test_a_rank_that_hangs_on_the_scale_is_told_with_the_widest_step():
    """A residual as large as the output noise: its directions count, and the step before them is still seen."""
    found = factorize(through(2, 12, residual=0.3), gaussian(60, 12))
    assert found.rank > 2 and found.gap < 2
    assert found.widest.rank == 2 and found.widest.lowest < 10 and found.widest.highest > 2 * found.widest.lowest
    assert found.leading == 2 < found.rank
    assert repr(found).startswith(
        "Factorization: rank 2 of at most 12, R^12 -> R^12: the widest step of the spectrum, at"
    )
    assert "at that noise itself the rank hangs on the scale: rank" in repr(found)
    rescaled = factorize(through(2, 12, residual=0.3), gaussian(60, 12), scale=0.1 * 1.3 * found.widest.lowest)
    assert rescaled.rank == 2 and "hangs" not in repr(rescaled)
    assert factorize(lambda x: x[:, :1], gaussian(20, 3)).widest is None


def test_layers_by_name():
    net, x = Net().train(), gaussian(40, 6).float()
    found = factorize(net, x, start="first", end="last")
    assert (found.inputs, found.outputs, found.rank) == (5, 4, 2)
    assert net.training and net.drop.training and not net.first._forward_hooks
    assert factorize(net, x, end="first").rank == 5
    assert factorize(net, x, start="narrow").rank == 2
    table = rank_table(net, x, ["first", "narrow", "last"])
    expected = [[math.nan, 5, 2, 2], [math.nan, math.nan, 2, 2], [math.nan] * 3 + [2], [math.nan] * 4]
    assert np.array_equal(table.ranks, expected, equal_nan=True)
    assert table.widths == (6, 5, 2, 4) and "rank from" in repr(table)
    assert table.plot().texts
    json.dumps(table.to_dict(), allow_nan=False)


def test_layers_of_images_and_of_tokens():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(32, 3))
    x = torch.randn(30, 1, 6, 6)
    assert factorize(net, x, start="0").inputs == 32
    assert factorize(net, x).inputs == 36
    assert rank_table(net, x).layers == ("input", "0", "1", "2")


def test_a_skip_around_the_start_is_a_constant():
    class Skip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Identity()

        def forward(self, x):
            return self.b(x + 0 * self.a(x))

    with pytest.raises(ValueError, match="5 rows without spread give no scale for input_noise"):
        factorize(Skip(), torch.ones(5, 3), start="a", end="b")
    assert factorize(Skip(), torch.randn(9, 3), start="a", end="b").rank == 0


def test_a_ring_needs_more_than_its_rank():
    turn = 2 * math.pi * torch.rand(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ring = torch.stack([turn.cos(), turn.sin()], 1) * (1 + 0.2 * gaussian(600, 1).tanh())
    found = factorize(lambda x: x / x.norm(dim=1, keepdim=True), ring)
    assert found.rank == 1 and found.is_consistent
    needed = found.bottleneck()
    assert needed.width == 2 and needed.rank == 1
    assert "Bottleneck: 2, while the Jacobian's rank is 1" in repr(needed)
    json.dumps(needed.to_dict(), allow_nan=False)


def test_summaries_fail_below_the_rank_and_hold_from_it_on():
    f, x = through(2, 6), gaussian(600, 6)
    below, at, above = factorize(f, x).summaries()
    assert (below.width, at.width, above.width) == (1, 2, 3)
    assert below.error > 0.3 and at.error < 0.05 and above.error < 0.05
    assert at.h(x[:7]).shape == (7, 2)
    assert (at.g(at.h(x)) - f(x)).square().mean().sqrt() < 0.06 * f(x).std()


def test_results_are_plain(tmp_path):
    found = factorize(through(1, 4), gaussian(50, 4))
    json.dumps(found.to_dict(), allow_nan=False)
    assert repr(found).startswith(
        "Factorization: rank 1 (of at most 4) at 100% of 50 rows, R^4 -> R^4, at an output noise of"
    )
    assert found.plot().lines


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: factorize(3, torch.ones(4, 2)), TypeError, "function must be callable, got int"),
        (lambda: factorize(len, torch.ones(4, 2)), TypeError, "expected a floating tensor"),
        (lambda: factorize(lambda x: x.sum(), gaussian(4, 2)), ValueError, r"expected \(4, outputs\)"),
        (lambda: factorize(lambda x: x / 0, gaussian(4, 2)), ValueError, "NaN or inf at 4 of 4 rows"),
        (lambda: factorize(lambda x: x.detach() * 2, gaussian(4, 2)), ValueError, "no slope at any of 4 rows"),
        (lambda: factorize(torch.round, gaussian(4, 2)), ValueError, "no slope at any of 4 rows"),
        (lambda: factorize(lambda x: x @ torch.ones(7), torch.ones(4, 2)), RuntimeError, r"failed on rows of shape \(4, 2\)"),
        (lambda: factorize(lambda x: x[:, 9], gaussian(4, 2)), RuntimeError, "IndexError"),
        (lambda: factorize(lambda x: torch.from_numpy(x.numpy()), gaussian(4, 2)), RuntimeError, "in torch throughout"),
        (lambda: factorize(lambda x: x[:, 2:], gaussian(4, 2)), ValueError, r"gave shape \(4, 0\) for 4 rows"),
        (lambda: factorize(lambda x: x, gaussian(4, 2), scale=0), ValueError, "scale is a share"),
        (lambda: factorize(lambda x: x, gaussian(1, 2)), ValueError, "at least 2 rows, got 1"),
        (lambda: factorize(lambda x: x, gaussian(4, 2), start="a"), ValueError, "start and end name layers"),
        (lambda: factorize(Net(), torch.ones(4, 6), start="frist"), ValueError, "did you mean 'first'"),
        (lambda: factorize(Net(), gaussian(4, 6).float(), start="last", end="first"), ValueError, "ran 0 times before 'first'"),
        (lambda: factorize(lambda x: x, gaussian(30, 2)).summary(), ValueError, "at least 40 rows"),
        (lambda: factorize(lambda x: x, gaussian(50, 2)).summary(3), ValueError, r"width must be in 0\.\.2"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(make, error, message):
    with pytest.raises(error, match=message):
        make()
