"""SHA256SUMS of a folder, as ``sha256sum -c`` reads it: one flipped bit in any file is found."""

import hashlib
from pathlib import Path

from flows.io.writing import write_whole

NAME = "SHA256SUMS"


def write_checksums(folder: Path, without: tuple[str, ...] = ()) -> None:
    """Write the checksum of every file below ``folder`` except the top-level names in ``without``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    kept = [name for name in names if name.partition("/")[0] not in (NAME, *without)]
    lines = [f"{_checksum(folder / name)}  {name}\n" for name in kept]
    write_whole({folder / NAME: "".join(lines).encode()})


def check_checksums(folder: Path, *names: str) -> None:
    """Raise ValueError if one of the files ``names`` that are there is not what it was when the checksums were written.

    A folder without checksums passes: it is older than they are.
    """
    if not (folder / NAME).is_file():
        return
    lines = (folder / NAME).read_text(encoding="utf8", errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in names:
        if (folder / name).is_file() and sums.get(name) != _checksum(folder / name):
            raise ValueError(
                f"{folder / name} or {NAME} was changed after it was written: the checksums differ; restore it from a copy or "
                "run the fit again"
            )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
