"""Files that are never half-written: complete on disk under a temporary name before they take their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(contents: dict[Path, bytes]) -> None:
    """Write every file of ``contents``, replacing what was there, or none of them if one cannot be written.

    Folders are made where missing. All are complete on disk before the first takes its name; they do so in the order given,
    so the last one's presence says that all are there. Each is replaced atomically.

    Raises:
        OSError: the disk is full or the folder cannot be written to; files already there are as they were.
    """
    partial = {path: path.with_name(f"{path.name}.{os.getpid()}.part") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(partial[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            os.replace(partial[path], path)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path next to ``path`` to write to; it takes ``path``'s name if the body ends well, else it is removed."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
