"""The one base of every error this project raises on purpose."""

from __future__ import annotations


class AuditError(Exception):
    """An error with a one-line hint that tells its reader what to do next.

    message: what is wrong, one line, never a secret or an event's content.
    hint: what to do about it, one line, may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
