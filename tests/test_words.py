"""Plain words: what a stranger would stumble over is nowhere in help, docstrings, messages, guides or presets."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTEAD = {
    r"dearest": "most expensive, of highest price",
    r"anew": "again",
    r"beside": "next to, together with, added to",
    r"but for": "except",
    r"is said": "holds, or name who says it",
}
FILES = [
    file
    for folder in ("training", "flows", "analysis", "configs")
    for file in sorted((ROOT / folder).rglob("*"))
    if file.suffix in (".py", ".pyi", ".md", ".yaml")
] + [ROOT / "README.md", *sorted((ROOT / ".ci").glob("*.md"))]


@pytest.mark.parametrize("word", INSTEAD)
def test_no_word_that_needs_a_key(word):
    assert len(FILES) > 200
    pattern = r"(?i)\b" + word.replace(" ", r"\s+") + r"\b"
    found = [
        f"{file.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1}"
        for file in FILES
        for text in [file.read_text(encoding="utf8")]
        for hit in re.finditer(pattern, text)
    ]
    assert not found, f"say {INSTEAD[word]!r} instead in {', '.join(found)}"
