"""Why a request was refused, and the one place that says so in HTTP and gRPC terms.

The statuses follow what clients do with them: a Collector drops a batch for ever on 400, 401, 403 and 413,
and tries again on 429 and 503. So everything that could succeed later is retryable.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import (
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
)
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.instrumentation.errors import AuditError

_log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5
"""When nothing better is known: long enough not to add to an overload, short beside any client's patience."""


class IngestError(AuditError):
    """A request that was refused whole. retry_after_s: seconds to wait, None when a repeat is useless."""

    http_status = 503
    grpc_code = UNAVAILABLE
    retry_after_s: int | None = RETRY_AFTER_S


class Unauthenticated(IngestError):
    """No key, a key that never was, a wrong secret, or one that stopped being valid long ago."""

    http_status = 401
    grpc_code = UNAUTHENTICATED
    retry_after_s = None


class KeyNotCurrent(IngestError):
    """A key that expired or was revoked lately: clients keep their data until the key is replaced."""

    retry_after_s = 60


class AdmissionUnavailable(IngestError):
    """The key or the tenant could not be looked up."""


class NotOtlp(IngestError):
    """Bytes that are no OTLP request and never will be."""

    http_status = 400
    grpc_code = INVALID_ARGUMENT
    retry_after_s = None


class TooLarge(IngestError):
    """More bytes, records or values than one request may hold."""

    http_status = 413
    grpc_code = RESOURCE_EXHAUSTED
    retry_after_s = None


class UnsupportedMedia(IngestError):
    """A Content-Type or Content-Encoding that is not taken."""

    http_status = 415
    grpc_code = UNIMPLEMENTED
    retry_after_s = None


class Throttled(IngestError):
    """Too much at once; the same request is welcome a moment later."""

    http_status = 429
    retry_after_s = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as a client sees it. status: google.rpc.Status, with RetryInfo when a repeat is useful."""

    http_status: int
    retry_after_s: int | None
    status: Status


def refusal_of(error: Exception) -> Refusal:
    """How `error` is answered. What is not foreseen is retryable: an audit event is not given up for a bug.

    The text is the error's own and never holds a value of the request.
    """
    if isinstance(error, IngestError):
        return _refusal(error.http_status, error.grpc_code, error.message, error.retry_after_s)
    if isinstance(error, StoreUnavailable):
        return _refusal(503, UNAVAILABLE, "the events could not be stored", error.retry_after_s)
    # Only type and place: the text of a foreign error may quote the event.
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "otel_audit" in f.filename]
    places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:])
    _log.error("request refused: unexpected %s at %s", type(error).__name__, places)
    return _refusal(503, UNAVAILABLE, "the events could not be stored", RETRY_AFTER_S)


def http_refusal(http_status: int, message: str) -> Refusal:
    """A refusal by the HTTP layer itself, such as an unknown path."""
    code = {403: PERMISSION_DENIED, 404: UNIMPLEMENTED, 405: UNIMPLEMENTED}.get(http_status, INVALID_ARGUMENT)
    return _refusal(http_status, code, message, None)


def _refusal(http_status: int, grpc_code: int, message: str, retry_after_s: int | None) -> Refusal:
    status = Status(code=grpc_code, message=message)
    if retry_after_s is not None:
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=retry_after_s)))
    return Refusal(http_status, retry_after_s, status)
