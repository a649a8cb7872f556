"""Python code blocks of README.md and of the guides in the packages, read as files that a user would write."""

import builtins
import symtable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "flows", "training")


def guides():
    """README.md, then every Markdown file of the packages."""
    return [ROOT / "README.md", *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.md"))]


def python_only(text):
    """The Markdown `text` with every line emptied that is not within a python block: line numbers stay."""
    kept, inside = [], None
    for line in text.splitlines():
        fence = line.strip()
        if inside is None and fence in ("```python", "```py"):
            inside, line = len(line) - len(line.lstrip()), ""
        elif inside is not None and fence == "```":
            inside = None
        kept.append("" if inside is None else line[inside:])
    return "\n".join(kept) + "\n"


def unbound(source):
    """Names that `source` reads and never binds, builtins aside: what its reader must have."""
    top = symtable.symtable(source, "guide", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return sorted(_globals_read(top) - bound - set(dir(builtins)))


def _globals_read(table):
    here = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and symbol.is_global()}
    return here.union(*map(_globals_read, table.get_children()))
