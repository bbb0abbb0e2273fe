from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import replace

import pytest

from otel_audit.exporter.receiver.admission import Admission, RefusedAttempt
from otel_audit.exporter.receiver.errors import (
    AdmissionUnavailable,
    IngestError,
    KeyNotCurrent,
    Unauthenticated,
    refusal_of,
)
from otel_audit.exporter.receiver.keys import IngestKey

NOW = 1_790_000_000.0
HOUR = 3600.0
SECRET = "".join(secrets.choice(string.ascii_letters) for _ in range(43))
KEY = IngestKey("abcdefghijkl", hashlib.sha256(SECRET.encode()).digest(), frozenset({"acme"}))
TEXT = f"oak_{KEY.key_id}_{SECRET}"


class Directory:
    """One key, or a control database that is down."""

    def __init__(self, key: IngestKey | None, *, down: bool = False) -> None:
        self.key, self.down = key, down

    def find_key(self, key_id: str) -> IngestKey | None:
        if self.down:
            raise OSError("no such file")
        return self.key if self.key and self.key.key_id == key_id else None

    def resolve_tenant(self, claimed: str) -> str | None:
        return claimed

    def create_tenant(self, claimed: str) -> str | None:
        return claimed


def outcome(
    key: IngestKey | None, authorization: str | None, *, down: bool = False
) -> tuple[object, list[str]]:
    attempts: list[RefusedAttempt] = []
    admission = Admission(Directory(key, down=down), lambda: NOW, on_refused=attempts.append)
    try:
        found: object = admission.admit(authorization, "192.0.2.1")
    except IngestError as error:
        found = type(error)
        if SECRET in f"{error.message} {error.hint} {error!r}":
            pytest.fail("the refusal quotes the secret")
    return found, [attempt.reason for attempt in attempts]


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_known_key_is_admitted(scheme: str) -> None:
    assert outcome(KEY, scheme + TEXT) == (KEY, [])


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        (TEXT, "malformed"),
        (f"Basic {TEXT}", "malformed"),
        ("Bearer", "malformed"),
        ("Bearer x", "malformed"),
        (f"Bearer {TEXT}x", "malformed"),
        (f"Bearer oak_aaaaaaaaaaaa_{SECRET}", "unknown"),
        (f"Bearer oak_{KEY.key_id}_{'A' * 43}", "wrong_secret"),
        (f"Bearer oak_{KEY.key_id}_{'é' * 43}", "malformed"),
    ],
)
def test_anything_else_is_unauthenticated_and_observed(authorization: str | None, reason: str) -> None:
    assert outcome(KEY, authorization) == (Unauthenticated, [reason])


@pytest.mark.parametrize(
    ("changed", "expected", "reason"),
    [
        ({"expires_at": NOW + 1}, None, None),
        ({"expires_at": NOW}, KeyNotCurrent, "expired"),
        ({"expires_at": NOW - 72 * HOUR + 1}, KeyNotCurrent, "expired"),
        ({"expires_at": NOW - 72 * HOUR}, Unauthenticated, "expired"),
        ({"revoked_at": NOW}, KeyNotCurrent, "revoked"),
        ({"revoked_at": NOW - 80 * HOUR}, Unauthenticated, "revoked"),
        ({"revoked_at": NOW, "expires_at": NOW - 80 * HOUR}, Unauthenticated, "expired"),
        ({"revoked_at": NOW, "compromised": True}, Unauthenticated, "compromised"),
    ],
)
def test_a_lapsed_key_is_told_to_come_again_for_72_hours(
    changed: dict[str, float], expected: type[IngestError] | None, reason: str | None
) -> None:
    key = replace(KEY, **changed)  # type: ignore[arg-type]
    assert outcome(key, f"Bearer {TEXT}") == (expected or key, [reason] if reason else [])


def test_a_lapsed_key_with_a_wrong_secret_tells_nothing() -> None:
    key = replace(KEY, revoked_at=NOW)
    assert outcome(key, f"Bearer oak_{KEY.key_id}_{'A' * 43}") == (Unauthenticated, ["wrong_secret"])


def test_a_lookup_that_fails_is_never_the_senders_fault() -> None:
    assert outcome(KEY, f"Bearer {TEXT}", down=True) == (AdmissionUnavailable, [])


def test_an_observer_that_fails_changes_no_answer() -> None:
    def fail(_: RefusedAttempt) -> None:
        raise RuntimeError("cannot record")

    with pytest.raises(Unauthenticated):
        Admission(Directory(KEY), lambda: NOW, on_refused=fail).admit(None)


def test_an_unforeseen_error_is_retryable_and_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    refusal = refusal_of(ValueError("the password is hunter2"))
    assert (refusal.http_status, refusal.retry_after_s) == (503, 5)
    assert "hunter2" not in str(refusal.status) + caplog.text
    assert "ValueError" in caplog.text
