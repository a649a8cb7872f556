"""Whatever the rows look like: the flow fitted to them is finite and invertible within stated bounds, or says why not.

Rows are numpy arrays of any scale from 1e-6 to 1e6, with offsets, heavy tails, duplicate rows and near-collinear columns,
in float32 and float64; the field is far from the identity. The bounds, eps being the dtype's:

- inverse(transform(x)) is x up to 1e-4 of the largest standard deviation (1e-7 in float64), 64 eps of the largest
  number, and what lies in directions below the noise floor, which the flow puts to their mean;
- the log-determinant of float32 rows is that of the same rows and weights in float64 up to .01 nats, and to .1 nats for
  each thousandth of a standard deviation that float32 cannot resolve.
"""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flows import FunnelFlow

GENTLE = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def clouds(draw):
    """(N, D) arrays: what people bring, and worse."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, dims = draw(st.integers(12, 120)), draw(st.integers(1, 5))
    x = rng.normal(size=(rows, dims))
    tails = draw(st.sampled_from([None, 3.0, 1.0]))  # Student's t; 1 is Cauchy's, without a mean
    if tails:
        x = x / np.sqrt(rng.chisquare(tails, size=(rows, 1)) / tails)
    x = x @ rng.normal(size=(dims, dims))
    near = draw(st.sampled_from([None, 1e-2, 1e-4, 1e-8, 0.0]))
    if near is not None and dims > 1:
        x[:, -1] = x[:, 0] * draw(st.sampled_from([1.0, -2.5])) + near * rng.normal(size=rows)
    repeated = draw(st.integers(0, rows // 2))
    x[rows - repeated :] = x[:repeated]
    x = (
        x
        * 10.0 ** draw(st.floats(-6, 6))
        * 10.0 ** np.array(draw(st.lists(st.floats(-2, 2), min_size=dims, max_size=dims)))
    )
    x = x + draw(st.sampled_from([0.0, 1.0, -30.0, 1e3, 1e6])) * x.std(0)
    return x.astype(draw(st.sampled_from(["float32", "float64"])))


def bent(x, strength=0.2):
    """A flow fitted to x, moved far from the identity, or None where there is a clear error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            flow = FunnelFlow.from_rows(x, hidden=16, components=4)
        except ValueError as error:
            assert any(word in str(error) for word in ("too few rows", "constant", "range of float64")), error
            return None
    generator, dims = torch.Generator().manual_seed(0), flow.front.dims
    with torch.no_grad():
        flow.field.W3.copy_(strength * torch.randn(flow.field.W3.shape, generator=generator))
        flow.front.turn.copy_(0.3 * torch.randn(dims, dims, generator=generator))
        flow.exits.tau.copy_(torch.linspace(0.3, 1.1, dims))
        flow.base.means.copy_(torch.randn(flow.base.means.shape, generator=generator))
    return flow.requires_grad_(False)


@GENTLE
@given(clouds())
def test_there_and_back(x):
    flow = bent(x)
    if flow is None:
        return
    rows, front = torch.from_numpy(x), flow.front
    z, ladj = flow.call_and_ladj(rows)
    assert all(bool(part.isfinite().all()) for part in (z, ladj, flow.log_prob(rows), flow.encode(rows)))
    back = flow.inverse(z)
    assert bool(back.isfinite().all()) and back.dtype == rows.dtype
    eps = torch.finfo(rows.dtype).eps
    centred = (rows - front.mean)[:, front.columns] @ front.basis[:, front.dims :]
    below = centred.abs().sum(1, keepdim=True)
    bound = (1e-4 if eps > 1e-10 else 1e-7) * front.scales[0] + 64 * eps * rows.abs().max() + below
    assert bool(((back - rows).abs() <= bound).all()), ((back - rows).abs() / bound).max()


@GENTLE
@given(clouds())
def test_the_log_determinant_in_float32_is_that_in_float64(x):
    flow = bent(x.astype("float32"))
    if flow is None:
        return
    rows = torch.from_numpy(x.astype("float32"))
    ladj, log_prob = flow.call_and_ladj(rows)[1], flow.log_prob(rows)
    unresolved = float(torch.finfo(torch.float32).eps * rows.abs().max() / front_floor(flow))
    flow.double()
    exact, exact_log_prob = flow.call_and_ladj(rows.double())[1], flow.log_prob(rows.double())
    assert float((ladj - exact).abs().max()) <= 0.01 + 100 * unresolved
    assert torch.isfinite(log_prob).all() and torch.isfinite(exact_log_prob).all()


def front_floor(flow):
    return flow.front.scales[: flow.front.dims].min()


@GENTLE
@given(clouds(), st.integers(0, 2**31 - 1))
def test_samples_are_finite(x, seed):
    flow = bent(x)
    if flow is None:
        return
    drawn, log_prob = flow.sample_and_log_prob(20, torch.Generator().manual_seed(seed))
    assert drawn.shape == (20, x.shape[1]) and bool(drawn.isfinite().all()) and bool(log_prob.isfinite().all())
    assert bool(flow.decode(flow.encode(x), "draw", torch.Generator().manual_seed(seed)).isfinite().all())


@GENTLE
@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(0, 12), st.integers(0, 4)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_array_at_all_gives_a_flow_or_a_clear_error(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            flow = FunnelFlow.from_rows(x, hidden=4, components=2)
        except ValueError as error:
            assert ";" in str(error), "what to do"
            return
    rows = torch.from_numpy(x)
    z, ladj = flow.call_and_ladj(rows)
    assert bool(z.isfinite().all()) and bool(ladj.isfinite().all())
    assert bool(flow.inverse(z).isfinite().all())


@pytest.mark.parametrize(("count", "seed", "strength"), [(500, 2, 1.2), (2000, 3, 0.8), (2000, 6, 1.6)])
def test_a_stiff_field_and_rows_far_out(count, seed, strength):
    """Where Newton's method must help, float32 cannot do better than a millionth of the row's own size."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(count, 3)) / np.sqrt(rng.chisquare(1, size=(count, 1)))) @ rng.normal(size=(3, 3))
    flow, rows = bent(x.astype("float32"), strength), torch.from_numpy(x.astype("float32"))
    error = (flow.inverse(flow.transform(rows)) - rows).abs().max()
    assert error <= 1e-4 * flow.front.scales[0]


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_the_answer_does_not_depend_on_the_unit(scale):
    x = torch.randn(200, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    one, other = FunnelFlow.from_rows(x).front, FunnelFlow.from_rows(x * scale).front
    torch.testing.assert_close(other(x * scale), one(x), rtol=1e-6, atol=1e-6)
    assert float(other.ladj - one.ladj) == pytest.approx(-3 * np.log(scale), abs=1e-6)
