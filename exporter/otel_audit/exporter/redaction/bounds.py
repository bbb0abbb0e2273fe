"""How much work one text may make. Who wants more gets the text hidden as a whole."""

from __future__ import annotations

from typing import Final

LOOKS_MAX: Final = 2_000
"""Candidates of one text: 40 kB of mail addresses and nothing else. More would take over 50 ms."""


class TooManyLooks(Exception):
    """The text has more candidates than anyone writes: all of it is hidden."""


class Looks:
    """Counts the candidates of one text."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = LOOKS_MAX

    def take(self) -> None:
        """Count one. Raises TooManyLooks."""
        self._left -= 1
        if self._left < 0:
            raise TooManyLooks
