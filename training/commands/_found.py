"""What the pieces of a fit say of the labels, with what PCA and k-means say of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.analyzer import Analyzer
    from training.fitting import FitResult


def found(result: FitResult) -> list[str]:
    """The last lines of a fit: what the net does with structure and noise, where there is a net to ask, and the classes."""
    if not result.structure_dim:
        return []
    from analysis.analyzer import Analyzer

    analyzer = Analyzer(result)
    causal = [] if analyzer.question is None else [f"causal: {analyzer.faithfulness().verdict()}"]  # type: ignore[union-attr]
    return causal + (_classes(analyzer) if analyzer.labels is not None else [])


def _classes(analyzer: Analyzer) -> list[str]:
    """Agreement of pieces and labels: the adjusted Rand index, 1 the same, 0 chance.

    The tree in the block and the same tree in the k first principal components of the rows, so that both have k dimensions.
    """
    from analysis.tree import tree

    labels, k = analyzer.labels, analyzer.structure_dim
    assert labels is not None
    principal = first_components(analyzer.x.double().numpy(), k)
    ours, linear = analyzer.tree(), tree(principal, groups=analyzer.sources)
    count = len(set(labels.tolist()))
    here, there = (_pieces(each.labels_, labels) for each in (ours, linear))  # type: ignore[union-attr]
    lines = [
        f"classes: {here} the block; PCA to {k} and the same tree: {there} there",
        f"         told that there are {count}: {count}-means agree at {_means(analyzer.s, labels):.2f} in the block, "
        f"{_means(principal, labels):.2f} in PCA to {k}",
    ]
    if ours.count < count:  # type: ignore[union-attr]
        more = analyzer.groups()
        lines.append(
            f"         the rows are too few or too close for more valleys; a mixture whose number of groups held-out rows "
            f"choose finds {more.count}, which agree at {_agreement(more.labels_, labels):.2f}"  # type: ignore[union-attr]
        )
    return lines


def first_components(x: NDArray, k: int) -> NDArray:
    """The k first principal components (n, k) of rows (n, D)."""
    from sklearn.decomposition import PCA

    return PCA(min(k, *x.shape), random_state=0).fit_transform(x)


def _pieces(labels_: NDArray, labels: NDArray) -> str:
    count = int(labels_.max()) + 1
    plural = "pieces agree" if count > 1 else "piece agrees"
    return f"{count} {plural} with the {len(set(labels.tolist()))} labels at {_agreement(labels_, labels):.2f} in"


def _means(points: NDArray, labels: NDArray) -> float:
    from sklearn.cluster import KMeans

    return _agreement(KMeans(len(set(labels.tolist())), n_init=4, random_state=0).fit_predict(points), labels)


def _agreement(found: NDArray, labels: NDArray) -> float:
    from analysis.clusters import agreement

    return agreement(found, labels)
