"""``module:object`` as a user names it: imported, and every way to miss it told apart."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.io.inputs import nearest


def load_object(name: str) -> Any:
    """The object that ``package.module:attribute`` names.

    Raises:
        ValueError: no colon, no such module, or no such attribute.
        RuntimeError: the module itself fails when it is imported.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute) or module.endswith(".py") or "/" in module:
        raise ValueError(
            f"expected module:object, got {name!r}; for instance nets:model, where nets.py is in {Path.cwd()}"
        )
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(module, error) from error
        raise ValueError(f"no module {module!r}, neither installed nor in {Path.cwd()}; check the name") from None
    except Exception as error:
        raise _failed(module, error) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            raise ValueError(f"no {part!r} in {name!r}; {nearest(part, names)}")
        found = getattr(found, part)
    return found


def called(function: Callable[[], Any], name: str) -> Any:
    """What the function gives.

    Raises:
        RuntimeError: it fails.
    """
    try:
        return function()
    except Exception as error:
        raise RuntimeError(
            f"{name}() failed: {type(error).__name__}: {error}; it is called without arguments: wrap it in a function "
            "that needs none (UNKNOT_TRACEBACK=1 shows where)"
        ) from error


def _failed(module: str, error: Exception) -> RuntimeError:
    return RuntimeError(
        f"importing {module!r} failed: {type(error).__name__}: {error}; mend it (UNKNOT_TRACEBACK=1 shows where)"
    )
