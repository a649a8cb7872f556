"""The checkpoint's file: one line with its format, sha256 and size, then what torch wrote; replaced atomically.

One file with its hash inside cannot be half of two, so no second one is kept: what damages it is the disk, not us.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from flows.io.writing import write_whole

FORMAT = 1
_MAGIC = b"unknot checkpoint "
_KEYS = {"state_dict", "optimizer_states", "loops", "callbacks", "global_step", "hyper_parameters", "course"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the message says what is wrong with which file."""


class CheckpointFile(CheckpointIO):
    """Reads and writes checkpoints for a Lightning Trainer; nothing but tensors and plain data is ever unpickled."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        head = b"%s%d %s %d\n" % (_MAGIC, FORMAT, hashlib.sha256(content).hexdigest().encode(), len(content))
        write_whole({Path(path): head + content})

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """What :meth:`save_checkpoint` wrote.

        Raises:
            FileNotFoundError: no such file.
            CheckpointError: truncated, changed, of another format, or holding what a checkpoint does not.
        """
        path = Path(path)
        content = _verified(path.read_bytes(), path)
        try:
            checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
        except Exception as error:  # torch's reader has half a dozen error classes; its advice is weights_only=False
            cause = str(error).partition("\n")[0].partition(". ")[0]
            raise CheckpointError(
                f"{path} holds more than tensors and plain data, which could run code, so it was not loaded "
                f"({type(error).__name__}: {cause}); {_remedy(path)}"
            ) from None
        if not isinstance(checkpoint, dict):
            raise CheckpointError(f"{path} must hold a dictionary, got {type(checkpoint).__name__}; {_remedy(path)}")
        check_keys(checkpoint.keys() & _KEYS, _KEYS, str(path), _remedy(path))
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def check_keys(found: Any, expected: Any, what: str, remedy: str) -> None:
    """Raise :class:`CheckpointError` unless ``what`` has the expected keys, no more and no fewer."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has an unknown {', '.join(extra)}"] * bool(extra)
    if wrong:
        raise CheckpointError(f"{what} {' and '.join(wrong)}: not written by this unknot; {remedy}")


def _remedy(path: Path) -> str:
    return f"restore it from a copy, or start again with: unknot fit -c {path.parent.parent / 'config.yaml'}"


def _verified(content: bytes, path: Path) -> bytes:
    """What follows the first line, known to have the size and the hash that it gives."""
    head, line_end, body = content.partition(b"\n")
    if not content.startswith(_MAGIC):
        raise CheckpointError(
            f"{path} is no checkpoint of unknot fit: {len(content)} bytes that begin with {content[:8]!r}; {_remedy(path)}"
        )
    words = head[len(_MAGIC) :].split(b" ")
    if not line_end or len(words) != 3 or not (words[0].isdigit() and words[2].isdigit()):
        raise CheckpointError(
            f"{path} is truncated or changed in its first line ({len(content)} bytes); {_remedy(path)}"
        )
    if int(words[0]) > FORMAT:
        raise CheckpointError(
            f"{path} has format {int(words[0])}, this unknot reads up to {FORMAT}: written by a newer unknot; upgrade unknot"
        )
    if int(words[0]) < 1:
        raise CheckpointError(f"{path} must have format {FORMAT}, got {int(words[0])}; {_remedy(path)}")
    if len(body) != int(words[2]):
        raise CheckpointError(
            f"{path} is truncated or was added to: {len(body)} bytes, expected {int(words[2])}; {_remedy(path)}"
        )
    digest = hashlib.sha256(body).hexdigest().encode()
    if digest != words[1]:
        raise CheckpointError(
            f"{path} was changed: sha256 {digest[:12].decode()}..., expected {words[1][:12].decode(errors='replace')}...; "
            f"{_remedy(path)}"
        )
    return body
