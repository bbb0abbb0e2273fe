"""What an append waits on."""

from __future__ import annotations

import threading

from .format import Position


class Receipt:
    """The answer to one frame, for the one thread that waits for it.

    As a Future, in so far as the writer needs one, at a third of the cost: with 64 threads appending, what
    Python does for each frame is most of the time until it is durable.
    """

    __slots__ = ("_answered", "_error", "_position")

    def __init__(self) -> None:
        self._answered = threading.Lock()
        self._answered.acquire()  # released with the answer
        self._position: Position | None = None
        self._error: Exception | None = None

    def set_result(self, position: Position) -> None:
        self._position = position
        self._answered.release()

    def set_exception(self, error: Exception) -> None:
        self._error = error
        self._answered.release()

    def done(self) -> bool:
        return self._position is not None or self._error is not None

    def wait(self) -> Position:
        """The position, once; raises the error instead."""
        self._answered.acquire()
        if self._position is None:
            assert self._error is not None
            raise self._error
        return self._position
