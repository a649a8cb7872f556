"""The front: whitening, the rotation, the noise floor, and columns that are set aside."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from flows import FunnelFlow
from flows.front import _WIDE, ColumnWarning, Front

pytestmark = pytest.mark.quick


def rows(count=500, dims=4, dtype=torch.float64):
    return (torch.randn(count, dims, dtype=torch.float64) @ torch.randn(dims, dims).double() + 3).to(dtype)


def test_whitened_rows_have_mean_0_and_covariance_1():
    x = rows()
    white = Front.from_rows(x)(x)
    torch.testing.assert_close(white.mean(0), torch.zeros(4).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(white.T @ white / len(x), torch.eye(4).double(), rtol=0, atol=1e-10)


def test_float64_rows_far_from_0_keep_float64_accuracy():
    x = rows() * 100 + 1e5
    front = Front.from_rows(x)
    torch.testing.assert_close(front.inverse(front(x)), x, rtol=1e-12, atol=0)


def test_dtype_follows_the_rows():
    for dtype in (torch.float32, torch.float64):
        x = rows(dtype=dtype)
        assert {t.dtype for t in Front.from_rows(x).state_dict().values() if t.is_floating_point()} == {dtype}


def test_inverse_and_ladj_with_any_rotation():
    x = rows()
    front = Front.from_rows(x)
    front.set_rotation(torch.randn(4, 4))
    with torch.no_grad():
        front.turn.normal_()
    torch.testing.assert_close(front.inverse(front(x)), x, rtol=1e-10, atol=1e-10)
    jacobian = torch.autograd.functional.jacobian(lambda row: front(row[None])[0], x[0])
    assert torch.linalg.slogdet(jacobian)[1] == pytest.approx(front.ladj.item(), abs=1e-9)


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_rotation_stays_in_SO(dims):
    front = Front(dims).double()
    with torch.no_grad():
        front.turn.normal_(std=3)
    rotation = front.rotation
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(dims).double(), rtol=0, atol=1e-12)
    assert torch.linalg.det(rotation).item() == pytest.approx(1)


def test_the_kept_rotation_follows_turn_start_and_dtype():
    front = Front(3).requires_grad_(False)
    first = front.rotation
    assert front.rotation is first  # kept
    front.turn.data[0, 1] = 1.0
    turned = front.rotation
    assert not torch.allclose(turned, first)
    front.set_rotation(torch.eye(3)[[1, 2, 0]])
    assert torch.equal(front.rotation, torch.eye(3)[[1, 2, 0]])
    assert front.double().rotation.dtype == torch.float64
    front.turn.requires_grad_()
    assert front.rotation.requires_grad


def test_set_rotation_takes_the_polar_factor_and_turns_a_reflection():
    front = Front(3).double()
    rotation = torch.linalg.qr(torch.randn(3, 3).double())[0]
    rotation[0] *= torch.linalg.det(rotation).sign()
    with torch.no_grad():
        front.turn.normal_()
    front.set_rotation(2.5 * rotation)
    torch.testing.assert_close(front.rotation, rotation, rtol=0, atol=1e-12)
    reflection = rotation * torch.tensor([[1.0], [1.0], [-1.0]])
    front.set_rotation(reflection)
    torch.testing.assert_close(front.rotation, rotation, rtol=0, atol=1e-12)


def test_directions_below_the_noise_floor():
    signal = torch.randn(500, 3).double() @ torch.randn(3, 5).double()
    x = signal + 1e-5 * torch.randn(500, 5).double()
    front = Front.from_rows(x)
    assert (front.used, front.dims) == (5, 3)
    floor = 1e-3 * torch.linalg.eigvalsh(x.T.cov(correction=0))[-1].sqrt()
    assert front.floor == pytest.approx(floor.item())
    assert 0 < (front.inverse(front(x)) - x).abs().max() < 0.1 * floor


def test_rank_deficient_rows_come_back():
    x = torch.randn(500, 3).double() @ torch.randn(3, 5).double()
    front = Front.from_rows(x)
    assert front.dims == 3
    torch.testing.assert_close(front.inverse(front(x)), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rank", [3, 5])
def test_identity_flow_is_the_gaussian_with_its_variances_at_the_floor(rank):
    x = torch.randn(500, rank).double() @ torch.randn(rank, 5).double() + 1
    flow = FunnelFlow.from_rows(x)
    variances, basis = torch.linalg.eigh(x.T.cov(correction=0))
    variances = variances.clamp_min(1e-6 * variances[-1])
    gaussian = MultivariateNormal(x.mean(0), basis @ variances.diag() @ basis.T)
    flow.exits.set_open(torch.zeros(rank, dtype=torch.bool))
    torch.testing.assert_close(flow.log_prob(x[:20]).detach(), gaussian.log_prob(x[:20]), rtol=1e-6, atol=1e-6)


def with_odd_columns():
    """Columns 1 and 4 constant, 3 and 5 equal to 0."""
    x = rows(dims=6)
    x[:, 1], x[:, 4] = 7.5, -2.0
    x[:, 3] = x[:, 5] = x[:, 0]
    return x


def test_constant_and_duplicate_columns_are_set_aside_with_one_warning_and_restored():
    x = with_odd_columns()
    with pytest.warns(ColumnWarning) as caught:
        front = FunnelFlow.from_rows(x).front
    assert len(caught) == 1 and caught[0].filename == __file__
    message = str(caught[0].message)
    assert "constant columns [1, 4]" in message and "duplicate columns 3 (= 0), 5 (= 0)" in message
    assert (front.features, front.used, front.dims) == (6, 2, 2)
    torch.testing.assert_close(front.inverse(front(x)), x, rtol=1e-12, atol=1e-12)


def test_columns_error_refuses():
    with pytest.raises(ValueError, match=r"constant columns \[1, 4\] and duplicate .* drop them"):
        Front.from_rows(with_odd_columns(), columns="error")
    with pytest.raises(ValueError, match="'set-aside' or 'error', got 'drop'"):
        Front.from_rows(rows(), columns="drop")


def test_nearly_equal_columns_are_no_twins():
    x = rows()
    x[:, 2] = x[:, 1]
    x[3, 2] += 1
    assert Front.from_rows(x).used == 4


def test_ties_are_flagged():
    x = rows()
    x[:, 1].relu_(), x[:, 2].sub_(3).relu_()
    x[:5, 3] = 1.0  # 1 % exactly
    x[:6, 0] = 1.0  # 1.2 %
    assert Front.from_rows(x).jittered.tolist() == [True, bool((x[:, 1] == 0).sum() > 5), True, False]


@pytest.mark.parametrize("count", [2, 4])
def test_too_few_rows(count):
    with pytest.raises(ValueError, match=f"too few rows: {count} rows for 4 .* at least 5 .* 400"):
        Front.from_rows(rows(count))
    Front.from_rows(rows(5))


@pytest.mark.filterwarnings("ignore:set aside")
def test_nothing_varies():
    with pytest.raises(ValueError, match=r"all 3 columns .* constant"):
        Front.from_rows(torch.ones(10, 3))


def test_rows_that_carry_gradients_are_only_read():
    x = rows().requires_grad_()
    flow = FunnelFlow.from_rows(x)
    assert not any(buffer.requires_grad for buffer in flow.front.buffers())


def test_repr_and_floor_constant():
    front = Front(5, 4, 3)
    assert repr(front) == "Front(features=5, used=4, dims=3, floor=0)"
    assert front.idle_log_prob(torch.zeros(1, 5)).item() == pytest.approx(-0.5 * math.log(2 * math.pi))


def test_few_rows_are_turned_without_forming_the_rotation():
    front = Front(_WIDE).double()
    front.set_rotation(torch.linalg.qr(torch.randn(_WIDE, _WIDE).double())[0])
    with torch.no_grad():
        front.turn.copy_(torch.randn(_WIDE, _WIDE) / _WIDE)
    white, wanted = torch.randn(5, _WIDE).double().requires_grad_(), torch.randn(5, _WIDE).double()
    ways = (front.enter(white), white @ front.rotation.T)
    assert not torch.equal(*ways)  # they are two ways
    gradients = [torch.autograd.grad((way * wanted).sum(), [front.turn, white]) for way in ways]
    torch.testing.assert_close(*ways)
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected)
    assert gradients[0][0].abs().max() > 0
