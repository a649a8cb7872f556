"""Surfaces: whether two loops span a torus, by the cup product of their angles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr

from analysis.topology.circular import CircularCoordinate

Floats = NDArray[np.float64]

EXACT = 0.02  # share of the cup product's norm left over by least squares, below which it counts as a coboundary


def cup_product_remainder(one: CircularCoordinate, other: CircularCoordinate) -> float:
    r"""Share, in [0, 1], of :math:`\theta_1 \cup \theta_2` that is no coboundary; 0 where the two loops span no torus.

    The product's value on a triangle i < j < k is :math:`\theta_1(ij)\,\theta_2(jk)`, made alternating. On a torus its class
    is the generator of degree 2, the signed area of the surface under both angles being one cell; on two loops and a sphere
    that touch, which have the same Betti numbers (1, 2, 1), it is zero.

    Raises:
        ValueError: coordinates on different landmarks or scales.
    """
    if one.steps.shape != other.steps.shape or (one.linked != other.linked).any():
        raise ValueError("the cup product needs two coordinates on the same landmarks and edges; compute them together")
    i, j, k = triangles(one.linked)
    if not len(i):
        return 0.0
    a, b = one.steps, other.steps
    # the alternating part of the Alexander-Whitney product: same class, and it does not depend on the landmarks' order
    product = (
        a[i, j] * b[j, k]
        - a[i, k] * b[k, j]
        + a[j, k] * b[k, i]
        - a[j, i] * b[i, k]
        + a[k, i] * b[i, j]
        - a[k, j] * b[j, i]
    ) / 6
    norm = np.linalg.norm(product)
    if norm == 0:
        return 0.0
    number = np.zeros(one.linked.shape, dtype=np.intp)
    first, second = np.nonzero(np.triu(one.linked, 1))
    number[first, second] = np.arange(len(first))
    rows = np.repeat(np.arange(len(i)), 3)
    columns = np.stack([number[i, j], number[j, k], number[i, k]], axis=1).ravel()
    coboundary = csr_array((np.tile([1.0, 1.0, -1.0], len(i)), (rows, columns)), shape=(len(i), len(first)))
    return float(lsqr(coboundary, product, atol=1e-8, btol=1e-8, iter_lim=2000)[3] / norm)


def triangles(linked: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """All triples i < j < k of landmarks that are linked to one another."""
    upper = np.triu(linked, 1)
    found = [np.empty((3, 0), dtype=np.intp)]
    for first in range(len(upper)):
        near = np.flatnonzero(upper[first])
        second, third = np.nonzero(upper[np.ix_(near, near)])
        found.append(np.stack([np.full(len(second), first), near[second], near[third]]))
    i, j, k = np.concatenate(found, axis=1)
    return i, j, k
