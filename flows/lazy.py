"""Names of a package, loaded on first use: its stub is the one list that Python, type checkers and editors read."""

from collections.abc import Callable

import lazy_loader


def attach(package: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Returns ``__getattr__``, ``__dir__`` and ``__all__`` for `package`, whose ``__init__.py`` is `file`.

    The names are the relative imports of the ``__init__.pyi`` next to it.

    Raises:
        ValueError: there is no such stub, or it imports from outside `package`.
    """
    load, listed, names = lazy_loader.attach_stub(package, file)

    def load_or_list(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names)}")
        return load(name)

    return load_or_list, listed, names
