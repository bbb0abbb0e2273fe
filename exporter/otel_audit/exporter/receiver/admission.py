"""Who may send: the ingest key of a request, looked up, proved and dated."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .errors import AdmissionUnavailable, IngestError, KeyNotCurrent, Unauthenticated
from .keys import KEY_PATTERN, IngestKey, KeyDirectory

_log = logging.getLogger(__name__)

GRACE_S: Final = 72 * 3600
"""How long a lapsed key is answered "later" instead of "never": a weekend to replace it in every client."""
_SCHEME: Final = "bearer "
_NOBODY_SHA256: Final = hashlib.sha256(b"nobody").digest()


@dataclass(frozen=True, slots=True)
class RefusedAttempt:
    """A request that was not admitted, for the trail. It holds nothing secret.

    key_id: the id part of the key that was shown, None when it was no key of ours. key: the key when it is a
    real, proved one that is not valid any more. reason: missing, malformed, unknown, wrong_secret, expired,
    revoked, compromised. peer: address of the client, if known. retryable: whether it was told to come again.
    """

    key_id: str | None
    key: IngestKey | None
    reason: str
    peer: str | None
    retryable: bool


class Admission:
    """Checks `authorization: Bearer <ingest key>`. now: seconds since 1970-01-01 UTC.

    on_refused is called for every attempt that is not admitted, in the thread of the request: it must be
    quick and may not block. What it raises is logged and changes nothing.
    """

    def __init__(
        self,
        keys: KeyDirectory,
        now: Callable[[], float],
        *,
        on_refused: Callable[[RefusedAttempt], None] | None = None,
    ) -> None:
        self._keys = keys
        self._now = now
        self._on_refused = on_refused

    def admit(self, authorization: str | None, peer: str | None = None) -> IngestKey:
        """The key of a request. Raises Unauthenticated, KeyNotCurrent, AdmissionUnavailable."""
        key_id, secret = _parse(authorization)
        if key_id is None or secret is None:
            raise self._refusal("malformed" if authorization else "missing", None, None, peer)
        key = self._find(key_id)
        if key is None:
            # As much work as for a known key, so that the time tells nothing about which ids exist.
            hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), _NOBODY_SHA256)
            raise self._refusal("unknown", key_id, None, peer)
        if not key.matches(secret):
            raise self._refusal("wrong_secret", key_id, None, peer)
        lapsed = _lapsed(key, self._now())
        if lapsed is None:
            return key
        reason, since_s = lapsed
        retryable = reason != "compromised" and since_s < GRACE_S
        raise self._refusal(reason, key_id, key, peer, retryable=retryable)

    def _find(self, key_id: str) -> IngestKey | None:
        try:
            return self._keys.find_key(key_id)
        except Exception as error:  # whatever it is, the sender is not to blame
            _log.exception("ingest key lookup failed")
            raise AdmissionUnavailable("the ingest key could not be checked", hint="send again") from error

    def _refusal(
        self,
        reason: str,
        key_id: str | None,
        key: IngestKey | None,
        peer: str | None,
        *,
        retryable: bool = False,
    ) -> IngestError:
        if self._on_refused is not None:
            try:
                self._on_refused(RefusedAttempt(key_id, key, reason, peer, retryable))
            except Exception:  # noqa: BLE001 - the answer stays the same, whatever became of the record
                _log.exception("a refused attempt could not be recorded")
        return _error(reason, retryable)


def _error(reason: str, retryable: bool) -> IngestError:
    if retryable:
        return KeyNotCurrent(f"the ingest key is {reason}; keep the events", hint="use its successor")
    return Unauthenticated(
        "no valid ingest key", hint="send `authorization: Bearer <key>`; `otel-audit key create` makes one"
    )


def _parse(authorization: str | None) -> tuple[str | None, str | None]:
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None, None
    match = KEY_PATTERN.fullmatch(authorization[len(_SCHEME) :].strip())
    return (match[1], match[2]) if match else (None, None)


def _lapsed(key: IngestKey, now: float) -> tuple[str, float] | None:
    """Why the key is not valid any more and since how many seconds; None while it is."""
    if key.compromised:
        return "compromised", 0.0
    ended = [
        (at, reason)
        for at, reason in ((key.expires_at, "expired"), (key.revoked_at, "revoked"))
        if at is not None and at <= now
    ]
    if not ended:
        return None
    at, reason = min(ended)
    return reason, now - at
