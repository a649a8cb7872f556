"""The Alexander polynomial of a knot diagram, exactly."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.topology.diagram import Crossing, Place

_MERSENNE = (61, 89, 127, 521, 607, 1279, 2203, 4423)  # 2^e - 1 is prime

# knots of up to seven crossings, and a few famous ones, by their polynomial
NAMES = {
    (1,): "unknot",
    (1, -1, 1): "trefoil (3_1)",
    (1, -3, 1): "figure-eight knot (4_1)",
    (1, -1, 1, -1, 1): "5_1, the torus knot T(2,5)",
    (2, -3, 2): "5_2",
    (2, -5, 2): "6_1",
    (1, -3, 3, -3, 1): "6_2",
    (1, -3, 5, -3, 1): "6_3",
    (1, -1, 1, -1, 1, -1, 1): "7_1, the torus knot T(2,7)",
    (3, -5, 3): "7_2",
    (2, -3, 3, -3, 2): "7_3",
    (4, -7, 4): "7_4",
    (2, -4, 5, -4, 2): "7_5",
    (1, -5, 7, -5, 1): "7_6",
    (1, -5, 9, -5, 1): "7_7",
    (1, -2, 3, -2, 1): "two trefoils (granny or square knot)",
    (1, -1, 0, 1, 0, -1, 1): "8_19, the torus knot T(3,4)",
    (1, -1, 0, 1, -1, 1, 0, -1, 1): "10_124, the torus knot T(3,5)",
}

Polynomial = tuple[int, ...]


def alexander(crossings: Sequence[Crossing]) -> Polynomial:
    r"""Coefficients of the Alexander polynomial of a diagram of one curve, from the highest power on, the first positive.

    A minor of the Wirtinger (Alexander) matrix: at a crossing with upper arc k and lower arcs i before and j after it,
    :math:`(1 - t) a_k + t a_i - a_j = 0` where the sign is positive, :math:`(1 - t) a_k + t a_j - a_i = 0` where it is
    negative. Its determinant is evaluated at 0, 1, 2, ... modulo a Mersenne prime beyond twice any coefficient
    (a row's coefficients sum to 4 in absolute value, so 4^n bounds them), and interpolated: no rounding anywhere.

    Args:
        crossings: of a diagram of one closed curve.

    Raises:
        ValueError: crossings between two curves.
    """
    if any(crossing.over.curve != crossing.under.curve for crossing in crossings):
        raise ValueError(
            "the Alexander polynomial here is that of one curve; got crossings of two, use linking instead"
        )
    size = len(crossings)
    if size < 3:  # every knot has at least three crossings in every diagram
        return (1,)
    prime = 2 ** next(e for e in _MERSENNE if 2 ** (e - 1) > 4**size) - 1
    rows = _relations(crossings)
    values = [_determinant(rows, t, prime) for t in range(size)]
    return _normal(_interpolated(values, prime))


def determinant(polynomial: Polynomial) -> int:
    """The knot's determinant, abs(Delta(-1))."""
    return abs(sum(c * (-1) ** i for i, c in enumerate(polynomial)))


def spelt(polynomial: Polynomial) -> str:
    """As a human writes it: t^2 - 3t + 1."""
    terms = []
    for power, c in zip(range(len(polynomial) - 1, -1, -1), polynomial, strict=True):
        if c:
            letter = "" if not power else "t" if power == 1 else f"t^{power}"
            size = f"{abs(c)}" if abs(c) != 1 or not power else ""
            terms.append(f"{'-' if c < 0 else '+'} {size}{letter}")
    return " ".join(terms).removeprefix("+ ")


def _relations(crossings: Sequence[Crossing]) -> list[tuple[int, int, int]]:
    """For every crossing the upper arc and the two lower ones, that with the factor t first."""
    unders = sorted(crossing.under for crossing in crossings)
    arc_after = {place: n + 1 for n, place in enumerate(unders)}
    size = len(crossings)

    def upper(place: Place) -> int:
        return sum(under < place for under in unders) % size

    out = []
    for crossing in crossings:
        before, after = arc_after[crossing.under] - 1, arc_after[crossing.under] % size
        lower = (before, after) if crossing.sign > 0 else (after, before)
        out.append((upper(crossing.over), *lower))
    return out


def _determinant(rows: list[tuple[int, int, int]], t: int, prime: int) -> int:
    """Of the matrix without its last row and column, at t modulo the prime, by elimination on sparse rows."""
    size = len(rows) - 1
    matrix: list[dict[int, int]] = []
    for over, first, second in rows[:-1]:
        row: dict[int, int] = {}
        for column, value in ((over, 1 - t), (first, t), (second, -1)):
            row[column] = (row.get(column, 0) + value) % prime
        matrix.append({column: value for column, value in row.items() if value and column < size})
    out = 1
    for column in range(size):
        holders = [n for n in range(column, size) if column in matrix[n]]
        if not holders:
            return 0
        pivot = min(holders, key=lambda n: len(matrix[n]))
        if pivot != column:
            matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
            out = -out
        lead = matrix[column]
        out = out * lead[column] % prime
        inverse = pow(lead[column], -1, prime)
        for n in range(column + 1, size):
            if column in matrix[n]:
                matrix[n] = _reduced(matrix[n], lead, matrix[n][column] * inverse % prime, prime)
    return out % prime


def _reduced(row: dict[int, int], lead: dict[int, int], factor: int, prime: int) -> dict[int, int]:
    out = dict(row)
    for column, value in lead.items():
        out[column] = (out.get(column, 0) - factor * value) % prime
    return {column: value for column, value in out.items() if value}


def _interpolated(values: list[int], prime: int) -> list[int]:
    """Coefficients, constant first and between -prime/2 and prime/2, of the polynomial with these values at 0, 1, 2, ..."""
    differences = list(values)  # Newton's divided differences
    for order in range(1, len(values)):
        inverse = pow(order, -1, prime)
        for n in range(len(values) - 1, order - 1, -1):
            differences[n] = (differences[n] - differences[n - 1]) * inverse % prime
    coefficients = [0] * len(values)
    for n in range(len(values) - 1, -1, -1):  # Horner: c <- c (t - n) + d_n
        shifted = [0, *coefficients[:-1]]
        coefficients = [(s - n * c) % prime for s, c in zip(shifted, coefficients, strict=True)]
        coefficients[0] = (coefficients[0] + differences[n]) % prime
    return [c - prime if c > prime // 2 else c for c in coefficients]


def _normal(coefficients: list[int]) -> Polynomial:
    """Without the factor t^n, highest power first, the first coefficient positive."""
    held = [n for n, c in enumerate(coefficients) if c]
    if not held or abs(sum(coefficients)) != 1:
        raise ArithmeticError(
            f"a knot has Delta(1) = 1 or -1, got {sum(coefficients)}: this is no diagram of one curve"
        )
    out = coefficients[held[0] : held[-1] + 1][::-1]
    return tuple(out if out[0] > 0 else [-c for c in out])
