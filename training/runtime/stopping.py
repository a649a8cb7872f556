"""SIGINT and SIGTERM as an error that says what to do next; no torch, so that they are heard from the first moment."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(RuntimeError):
    """A signal ended the run.

    Attributes:
        exit_status: 128 + the signal's number, as shells have it.
    """

    def __init__(self, message: str, number: int = signal.SIGTERM):
        super().__init__(message)
        self.number, self.exit_status = number, 128 + number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise :class:`StoppedError` at once; elsewhere than in the main thread nothing is changed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(signal.Signals(number).name, number)

    try:
        previous = {number: signal.signal(number, stop) for number in SIGNALS}
    except ValueError:  # not the main thread: signals are somebody else's business
        previous = {}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
