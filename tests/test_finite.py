"""Functions of finite sets: level sets, relabellings found and verified, or the reason why there is none."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.functions.finite import equivalent, finite_function
from analysis.functions.freedom import coordinate_freedom

pytestmark = pytest.mark.quick

THREE_TWO = {1: 1, 2: 1, 3: 1, 4: 5, 5: 5}
FOUR_ONE = {1: 1, 2: 1, 3: 1, 4: 1, 5: 5}


def relabelled(table, rng, outputs):
    """The table with every argument and the outputs permuted."""
    for axis, size in enumerate(table.shape):
        table = np.take(table, rng.permutation(size), axis)
    return rng.permutation(outputs)[table]


def holds(f, g, found):
    """Whether a relabelling takes table f to table g."""
    f, g = np.asarray(f), np.asarray(g)
    moved = g.ravel()[found.inputs[0]] if found.joint else g[np.ix_(*found.inputs)].ravel()
    one_to_one = len(set(found.outputs.values())) == len(found.outputs)
    return one_to_one and all(found.outputs[a] == b for a, b in zip(f.ravel().tolist(), moved.tolist(), strict=True))


def addition(n):
    return np.add.outer(np.arange(n), np.arange(n)) % n


def test_the_posts_two_functions():
    f, g = finite_function(THREE_TWO, codomain=5), finite_function(FOUR_ONE, codomain=5)
    assert (f.level_set_sizes, g.level_set_sizes) == ((3, 2), (4, 1))
    assert f.intermediate == g.intermediate == 2
    found = equivalent(f, g)
    assert not found and found.exists is False
    assert found.reason == "Level sets have sizes 3, 2 in one and 4, 1 in the other"


def test_names_of_inputs_and_outputs_come_back():
    f = finite_function({"a": "x", "b": "y", "c": "x"})
    g = finite_function({10: None, 20: 1.5, 30: 1.5})
    found = equivalent(f, g)
    assert found and found.outputs == {"x": 1.5, "y": None}
    assert [g.inputs[0][i] for i in found.inputs[0]] == [20, 10, 30]
    json.dumps(found.to_dict(), allow_nan=False), json.dumps(f.to_dict(), allow_nan=False)
    assert len(f.plot().patches) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 9), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_relabelled_functions_are_equivalent(values, seed):
    rng = np.random.default_rng(seed)
    codes = np.unique(values, return_inverse=True)[1]
    other = relabelled(codes, rng, codes.max() + 1)
    found = equivalent(codes, other)
    assert found and holds(codes, other, found)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(2, 3), (4, 4), (5, 3), (2, 3, 4)]), st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans()
)
def test_relabelled_arguments_are_found(shape, outputs, seed, joint):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, outputs, shape)
    other = relabelled(table, rng, outputs)
    found = equivalent(table, other, joint=joint)
    assert found and found.joint == joint and holds(table, other, found)


@pytest.mark.parametrize("n", [2, 7, 30])
def test_symmetric_tables_are_matched(n):
    other = relabelled(addition(n), np.random.default_rng(n), n)
    found = equivalent(addition(n), other)
    assert found and holds(addition(n), other, found)


def test_groups_are_told_apart():
    cyclic, klein = addition(4), np.bitwise_xor.outer(np.arange(4), np.arange(4))
    apart = equivalent(cyclic, klein)
    assert apart.exists is False and "Every way to match labels" in apart.reason
    assert equivalent(cyclic, klein, joint=True)


def test_refinement_says_where_tables_differ():
    found = equivalent([[0, 0, 0], [0, 1, 1]], [[0, 0, 1], [0, 0, 1]])
    assert found.exists is False
    assert found.reason == "The values of argument 1 fall in groups of 1, 1 and of 2 when compared 1 step deep"


def test_several_arguments_are_not_swapped():
    table = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    assert equivalent(table, table.T).exists is False
    assert equivalent(table, table.T, joint=True)


def test_the_search_gives_up_honestly(monkeypatch):
    monkeypatch.setattr("analysis.functions.relabelling.relabelling.__defaults__", (False, 20))
    found = equivalent(addition(8), np.bitwise_xor.outer(np.arange(8), np.arange(8)))
    assert found.exists is None and not found and repr(found).startswith("Relabelling: undecided. The search gave up")


@pytest.mark.parametrize(
    ("f", "g", "reason"),
    [
        ([0, 1], [0, 1, 1], "The arguments have 2 values in one and 3 in the other"),
        ([[0, 1, 1]], [[0], [1], [1]], "1 x 3 values in one and 3 x 1"),
        (finite_function([0, 1], codomain=5), [0, 1], "5 possible outputs in one and 2 in the other"),
        ([0, 0, 1], [0, 1, 2], "2 possible outputs in one and 3"),
    ],
)
def test_sizes_decide_first(f, g, reason):
    assert reason in equivalent(f, g).reason


def test_argument_classes_are_what_the_function_needs():
    table = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    f = finite_function(table)
    assert f.argument_intermediate == (2, 2)
    assert [classes.tolist() for classes in f.argument_classes] == [[0, 1, 0], [0, 1, 0]]


def test_nets_on_finite_inputs():
    product = finite_function(lambda x: (x[:, 0] * x[:, 1]) % 6, inputs=(6, 6))
    assert product.codes.tolist() == np.multiply.outer(np.arange(6), np.arange(6)).__mod__(6).tolist()
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.9)).train()
    inputs = torch.randn(100, 3)
    f = finite_function(net, inputs=inputs)
    assert net.training and net[1].training
    assert [f.outputs[i] for i in f.codes] == net[0](inputs).argmax(1).tolist()


def test_mappings_of_several_arguments():
    f = finite_function({(i, w): i + len(w) for i in range(3) for w in ("a", "bc")})
    assert f.shape == (3, 2) and f.inputs[1] == ["a", "bc"] and f.level_set_sizes == (2, 2, 1, 1)


def test_large_values_are_not_counted_out():
    assert finite_function([10**15, 0, -(10**15), 0]).level_set_sizes == (2, 1, 1)
    assert finite_function(np.array([True, False, True])).outputs == [False, True]


def test_finite_answers_survive_relabelled_rows():
    """Level sets of a function of rows: rows are points, whatever their coordinates."""
    x = torch.randint(0, 3, (60, 2), generator=torch.Generator().manual_seed(0)).double()

    def levels(rows):
        return finite_function({i: tuple(row) for i, row in enumerate(rows.round(decimals=6).tolist())})

    found = coordinate_freedom(levels, x, 20)
    assert found.outputs[2].name == "level_set_sizes" and found.invariant == [o.name for o in found.outputs]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: finite_function([]), ValueError, "at least 1 input"),
        (lambda: finite_function([[1], [1, 2]]), ValueError, "rectangular"),
        (lambda: finite_function([1.0, np.nan]), ValueError, "NaN or inf in 1 entries"),
        (lambda: finite_function([0, 1, 2], codomain=2), ValueError, "codomain=2 is smaller than the 3 outputs"),
        (lambda: finite_function(len), ValueError, "a callable needs inputs"),
        (lambda: finite_function([1, 2], inputs=2), ValueError, "inputs belong to a callable"),
        (lambda: finite_function(lambda x: x.double(), inputs=4), TypeError, "expected integers"),
        (lambda: finite_function(lambda x: x * torch.nan, inputs=torch.ones(2, 3)), ValueError, "NaN in 2 of 2 inputs"),
        (lambda: finite_function(len, inputs=(0, 3)), ValueError, "sizes of at least 1"),
        (lambda: finite_function({(0, 0): 1, (1, 1): 2}), ValueError, "2 keys for 2 x 2 combinations"),
        (lambda: finite_function({(0, 0): 1, (1,): 2}), ValueError, r"keys have \[1, 2\] arguments"),
        (lambda: finite_function({1: [2]}), TypeError, "outputs must be hashable"),
    ],
)
def test_errors_say_what_to_do(make, error, message):
    with pytest.raises(error, match=message):
        make()
