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
    """Agreement of pieces and labels (adjusted Rand index: 1 the same, 0 chance) in the block and in plain coordinates.

    Plain are as many principal components as the block has dimensions, and the directions that entered the flow if not all did.
    """
    from analysis.pieces.tree import tree

    labels, ours, front = analyzer.labels, analyzer.tree(), analyzer.flow.front
    assert labels is not None
    count, k = len(set(labels.tolist())), analyzer.structure_dim
    plain = {f"PCA to {k}": first_components(analyzer.x.double().numpy(), k)}
    if front.kind != "whiten":
        plain[f"the {front.kept} plain directions"] = front.whiten(analyzer.x).double().numpy()
    trees = {name: tree(points, groups=analyzer.sources).labels_ for name, points in plain.items()}
    block = _agreement(ours.labels_, labels)  # type: ignore[union-attr]
    lines = [
        f"classes: the block's {ours.count} pieces agree with the {count} labels at {block:.2f}; by the same tree "  # type: ignore[union-attr]
        + ", ".join(f"{name} {_agreement(found, labels):.2f} ({found.max() + 1})" for name, found in trees.items()),
        f"         told that there are {count}, {count}-means: block {_means(analyzer.s, labels):.2f}, "
        + ", ".join(f"{name} {_means(points, labels):.2f}" for name, points in plain.items()),
    ]
    better = [name for name, found in trees.items() if _agreement(found, labels) > block + 0.02]
    if better:
        lines.append(
            f"         {' and '.join(better)} tell the classes better than the block: for them no flow is needed"
        )
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


def _means(points: NDArray, labels: NDArray) -> float:
    from sklearn.cluster import KMeans

    return _agreement(KMeans(len(set(labels.tolist())), n_init=4, random_state=0).fit_predict(points), labels)


def _agreement(found: NDArray, labels: NDArray) -> float:
    from analysis.pieces.clusters import agreement

    return agreement(found, labels)
