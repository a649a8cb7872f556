"""What the pieces of a fit say of the labels, with what PCA and k-means say of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting import FitResult


def classes(result: FitResult) -> list[str]:
    """Lines on the agreement of pieces and labels, none without labels: the adjusted Rand index, 1 the same, 0 chance.

    The tree in the block and the same tree in the k first principal components of the rows, so that both have k dimensions.
    """
    if result.activations.labels is None or not result.structure_dim:
        return []
    from analysis.analyzer import Analyzer
    from analysis.tree import tree

    analyzer = Analyzer(result)
    labels, k = analyzer.labels, result.structure_dim
    assert labels is not None
    principal = first_components(analyzer.x.double().numpy(), k)
    ours, linear = analyzer.tree(), tree(principal, groups=analyzer.sources)
    count = len(set(labels.tolist()))
    here, there = (_pieces(found.labels_, labels) for found in (ours, linear))  # type: ignore[union-attr]
    lines = [
        f"classes: {here} the block; PCA to {k} and the same tree: {there} there",
        f"         told that there are {count}: {count}-means agree at {_means(analyzer.s, labels):.2f} in the block, "
        f"{_means(principal, labels):.2f} in PCA to {k}",
    ]
    if ours.count < count:  # type: ignore[union-attr]
        found = analyzer.groups()
        lines.append(
            f"         the rows are too few or too close for more valleys; a mixture whose number of groups held-out rows "
            f"choose finds {found.count}, which agree at {_agreement(found.labels_, labels):.2f}"  # type: ignore[union-attr]
        )
    return lines


def first_components(x: NDArray, k: int) -> NDArray:
    """The k first principal components (n, k) of rows (n, D)."""
    from sklearn.decomposition import PCA

    return PCA(min(k, *x.shape), random_state=0).fit_transform(x)


def _pieces(found: NDArray, labels: NDArray) -> str:
    count = int(found.max()) + 1
    plural = "pieces agree" if count > 1 else "piece agrees"
    return f"{count} {plural} with the {len(set(labels.tolist()))} labels at {_agreement(found, labels):.2f} in"


def _means(points: NDArray, labels: NDArray) -> float:
    from sklearn.cluster import KMeans

    return _agreement(KMeans(len(set(labels.tolist())), n_init=4, random_state=0).fit_predict(points), labels)


def _agreement(found: NDArray, labels: NDArray) -> float:
    from analysis.clusters import agreement

    return agreement(found, labels)
