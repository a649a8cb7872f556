"""What PCA and ICA say of the number of structure dimensions in a planted cloud.

    python tests/benchmarks/baselines.py --noise-dims 3 10      # ten seconds on one core

numpy, scipy and scikit-learn only, so that nothing of ours takes part in the answer.
"""

import argparse
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import normaltest
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from training.data.planting import PLANTED_NAMES, planted


def pca_elbow(x: NDArray[np.floating]) -> int:
    """Number of principal components before the largest relative drop of the covariance's eigenvalues.

    With eigenvalues e_1 >= ... >= e_D: 0 if e_1 / e_D is no more than the Marchenko-Pastur spread
    ((1 + sqrt(D/rows)) / (1 - sqrt(D/rows)))^2 of isotropic noise, so that a flat spectrum has no elbow; else the i in
    1..D-1 with the smallest e_{i+1} / e_i. Never D: an elbow needs an eigenvalue after it. Rank-deficient rows give
    their rank.

    Args:
        x: (rows, D), rows > D.
    """
    rows, dims = x.shape
    spectrum = np.linalg.eigvalsh(np.atleast_2d(np.cov(x, rowvar=False)))[::-1].clip(0)
    spectrum[spectrum <= spectrum[0] * dims * np.finfo(x.dtype).eps] = 0
    edge = np.sqrt(dims / rows)
    if spectrum[0] * (1 - edge) ** 2 <= spectrum[-1] * (1 + edge) ** 2:
        return 0
    kept = spectrum[:-1][spectrum[:-1] > 0]
    return int(np.argmin(spectrum[1 : len(kept) + 1] / kept)) + 1


def ica_count(x: NDArray[np.floating], seed: int, level: float = 0.01) -> int:
    """Number of independent components that are not Gaussian.

    FastICA (logcosh, all D components) is fitted on a random half of the rows; each component of the other half is put
    to D'Agostino's K^2 test (skewness and kurtosis) and counted if p < level / D (Bonferroni). The halves matter:
    FastICA seeks non-Gaussian directions, and on the rows it has seen it finds them in pure noise too.

    Args:
        x: (rows, D).
        seed: of the split and of FastICA's start.
        level: chance of counting any component of pure Gaussian noise.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    fit_rows, test_rows = np.array_split(order, 2)
    ica = FastICA(whiten="unit-variance", random_state=seed)
    with warnings.catch_warnings():  # two or more Gaussian components never converge
        warnings.filterwarnings("ignore", "FastICA did not converge", ConvergenceWarning)
        ica.fit(x[fit_rows])
    p_values = normaltest(ica.transform(x[test_rows])).pvalue
    return int((p_values < level / x.shape[1]).sum())


def main() -> None:
    """Print one row per planted set and number of noise dimensions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise-dims", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--rows", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="no diffeomorphism: the structure and noise columns")
    options = parser.parse_args()
    seen = "plain" if options.plain else "through a random diffeomorphism"
    print(f"rows {options.rows}, seed {options.seed}, {seen}")
    print(f"{'set':<16}{'noise dims':>10}{'D':>5}{'true k':>8}{'PCA elbow':>11}{'ICA':>5}")
    for noise_dims in options.noise_dims:
        for name in PLANTED_NAMES:
            cloud = planted(name, options.rows, noise_dims, options.seed, diffeo=not options.plain)
            x = cloud.x.double().numpy()
            truth = str(cloud.structure_dim) if cloud.scored else f"({cloud.structure_dim})"
            counts = f"{pca_elbow(x):>11}{ica_count(x, options.seed):>5}"
            print(f"{name:<16}{noise_dims:>10}{x.shape[1]:>5}{truth:>8}{counts}", flush=True)


if __name__ == "__main__":
    main()
