"""Errors of the write-ahead log, each with the data an operator needs."""

from __future__ import annotations

import errno
import os
from typing import Final

from otel_audit.instrumentation.errors import AuditError

# Conditions that pass by themselves or by an operator's hand, without a restart.
PASSING: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.EROFS,
        errno.EFBIG,
        errno.ENOMEM,
        errno.EAGAIN,
    }
)


class WalError(AuditError):
    """The log cannot do what was asked of it."""


class WalFull(WalError):
    """Nothing was stored; the same frame may succeed in `retry_after_s` seconds.

    cause: `queue` (frames come faster than the disk takes them) or the name of an errno, such as `ENOSPC`.
    """

    def __init__(self, message: str, *, cause: str, hint: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause
        self.retry_after_s = retry_after_s


class WalClosed(WalError):
    """The log was closed before this frame was written."""


class WalFailed(WalError):
    """The disk broke a promise: nothing more is written until the log is opened anew."""


class WalLocked(WalError):
    """Another writer has this log open."""


class WalDamaged(WalError):
    """What a reader needs cannot be read; the writer repairs it when it starts."""


class NewerWal(WalError):
    """The log was written by a newer release."""


class FrameRefused(WalError):
    """A frame that is empty or larger than a record may be."""


class SegmentVanished(WalError):
    """A segment was removed while it was being read: its rows are in Parquet files by now."""

    def __init__(self, segment: int) -> None:
        super().__init__(f"segment {segment} of the write-ahead log is gone", hint="take a new snapshot")
        self.segment = segment


def translate(error: OSError, doing: str) -> WalError:
    """The error to raise for a failed system call that was not an fsync."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in PASSING:
        return WalFull(
            f"the write-ahead log could not {doing}: {reason}",
            cause=errno.errorcode[error.errno],
            hint="free space or file handles on the data directory's disk; writing resumes by itself",
        )
    return WalFailed(
        f"the write-ahead log could not {doing}: {reason}",
        hint="check the disk of the data directory, then restart: acknowledged events are replayed",
    )
