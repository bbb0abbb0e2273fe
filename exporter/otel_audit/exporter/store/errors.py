"""Errors of the store, each with the data an operator needs."""

from __future__ import annotations

from otel_audit.instrumentation.errors import AuditError


class StoreError(AuditError):
    """Something about the data directory keeps the store from working."""


class StoreUnavailable(StoreError):
    """Nothing was stored; the same request may succeed in `retry_after_s` seconds."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class StoreLocked(StoreError):
    """Another process owns this data directory."""


class InvalidTenant(StoreError):
    """A tenant id that may not become a path."""


class ManifestBroken(StoreError):
    """A manifest entry that does not follow from the one before it."""

    def __init__(self, message: str, *, tenant: str, entry: str) -> None:
        super().__init__(message, hint=f"run `otel-audit verify --tenant {tenant}` and restore {entry}")
        self.tenant = tenant
        self.entry = entry


class WrongRegion(StoreError):
    """A root, or an organization's data, that belongs to another region."""


class DataGone(StoreError):
    """A folder that held data is not there: its disk may not be mounted."""


class NewerData(StoreError):
    """The data directory was written by a newer release."""


class BackupError(StoreError):
    """A backup that cannot be made here, or that must not be used."""


class CheckpointUnusable(StoreError):
    """A file that was given as a checkpoint and is none."""
