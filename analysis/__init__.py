"""Analysis of a trained flow's structure block. Names are loaded on first use; torch is not needed for numpy work."""

from importlib import import_module

_HOMES = {
    "Aligner": "alignment.aligner",
    "Analyzer": "analyzer",
    "SavedRun": "run",
    "certify": "certification.certificate",
    "fit_density": "density.bag",
    "intrinsic_dimension": "dimension.intrinsic",
    "two_nn": "dimension.intrinsic",
    "densest": "density.cores",
    "irreducibility": "dimension.plane",
    "find_pieces": "pieces.clusters",
    "Pieces": "pieces.clusters",
    "agreement": "pieces.clusters",
    "plane_angle": "dimension.angles",
    "circular_correlation": "dimension.angles",
    "probed_angle": "dimension.angles",
    "coordinate_freedom": "functions.freedom",
    "Freedom": "functions.freedom",
    "Noise": "functions.noise",
    "factorize": "functions.factorization",
    "rank_table": "functions.tables",
    "fibre": "functions.fibres",
    "preferred_axes": "functions.axes",
    "finite_function": "functions.finite",
    "equivalent": "functions.finite",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"analysis.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
