"""Sends audit events by OTLP: a LoggerProvider of the trail's own around the SDK's exporters."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakMethod

import requests
from opentelemetry._logs import Logger
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import (
    LoggerProvider,
    LogRecordLimits,
    LogRecordProcessor,
    ReadableLogRecord,
    ReadWriteLogRecord,
)
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from requests.adapters import HTTPAdapter

from otel_audit.exporter.app_redaction import RedactingProcessor, redacted_resource
from otel_audit.instrumentation.config import ExporterConfig
from otel_audit.instrumentation.errors import AuditError

LOGS_PATH: Final = "/v1/logs"
WAITING_MAX: Final = 32_768
"""Events that may wait for the receiver: about 100 MB, 30 s of a thousand events a second."""
BATCH_MAX: Final = 512
BATCH_BYTES_MAX: Final = 2 << 20
"""Weight of a request, half of gRPC's default limit of 4 MiB, because names and framing come on top."""
FULL_WAIT_S: Final = 0.05
"""How long recording may block an app when the queue is full, before the event is refused."""
RETRY_FOR_S: Final = 120.0
"""How long a batch is offered again after the SDK's own retries ended; an outage beyond it loses events."""
RETRY_PAUSE_S: Final = 0.5
RETRY_PAUSE_MAX_S: Final = 5.0
REFUSED_FOR_EVER: Final = frozenset({400, 413})
"""Statuses that say the payload itself is at fault; every other one may heal."""
SCOPE: Final = "otel_audit"

_logger: Final = logging.getLogger("otel_audit")


class QueueFull(AuditError):
    """The receiver does not keep up, and the events that wait have reached their bound."""


def make_processor(config: ExporterConfig) -> PrivateProvider:
    """The entry point `otlp` of group otel_audit_exporter: ship events to config.endpoint, batch by batch.

    The SDK's OTLP exporter of the configured protocol, gzip, untouched by OTEL_EXPORTER_OTLP_… variables.
    Raises AuditError when the gRPC exporter is asked for and not installed.
    """
    if config.protocol == "grpc":
        shipping = ShippingProcessor(_grpc_exporter(config), config.schedule_delay_ms)
    else:
        session = _OwnSession(config)
        shipping = ShippingProcessor(
            _http_exporter(config, session),
            config.schedule_delay_ms,
            is_refusal_final=lambda: session.last_status in REFUSED_FOR_EVER,
        )
    return PrivateProvider(config, shipping)


class PrivateProvider:
    """A LoggerProvider that the app's own telemetry neither sees nor feeds, around any processor.

    An instrumentation EventProcessor. The processor may be any LogRecordProcessor: one that ships from
    memory, or one that spools to disk first.
    """

    def __init__(self, config: ExporterConfig, processor: LogRecordProcessor) -> None:
        self._processor = processor
        unlimited = LogRecordLimits.UNSET
        named = {SERVICE_NAME: config.service_name} if config.service_name else None
        personal = config.redact == "all"
        resource, of_resource = redacted_resource(Resource.create(named), personal=personal)
        provider = LoggerProvider(
            resource=resource,
            shutdown_on_exit=False,
            meter_provider=NoOpMeterProvider(),
            # The SDK's default drops the oldest attributes beyond 128, the record id first.
            log_record_limits=LogRecordLimits(
                max_attributes=unlimited,
                max_attribute_length=unlimited,
                max_log_record_attributes=unlimited,
                max_log_record_attribute_length=unlimited,
            ),
        )
        provider.add_log_record_processor(RedactingProcessor(personal=personal, of_resource=of_resource))
        provider.add_log_record_processor(processor)
        self._provider = provider
        self._logger = provider.get_logger(SCOPE)
        atexit.register(self.shutdown)

    @property
    def logger(self) -> Logger:
        """The logger that takes the trail's records."""
        return self._logger

    def flush(self, timeout_s: float) -> bool:
        """Whether everything emitted so far was accepted within timeout_s."""
        return self._processor.force_flush(int(timeout_s * 1000))

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Send what waits within timeout_s, then stop."""
        atexit.unregister(self.shutdown)
        self._processor.force_flush(int(timeout_s * 1000))
        self._provider.shutdown()


class ShippingProcessor(LogRecordProcessor):
    """The SDK's batch processor, bounded so that it refuses an event instead of dropping an older one."""

    def __init__(
        self,
        exporter: LogRecordExporter,
        schedule_delay_ms: float,
        *,
        is_refusal_final: Callable[[], bool] = lambda: False,
        waiting_max: int = WAITING_MAX,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self._delivery = Delivery(exporter, is_refusal_final, waiting_max, retry_for_s)
        self._batches = BatchLogRecordProcessor(
            self._delivery,
            schedule_delay_millis=schedule_delay_ms,
            max_export_batch_size=min(BATCH_MAX, waiting_max),
            max_queue_size=waiting_max,
            meter_provider=NoOpMeterProvider(),
        )

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue one record. Raises QueueFull after waiting FULL_WAIT_S, or when stopped."""
        if not self._delivery.admit(FULL_WAIT_S):
            raise QueueFull("the queue of events is full or closed", hint="is the audit receiver reachable?")
        self._batches.on_emit(log_record)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether everything queued before was accepted within the time."""
        settled = self._delivery.watch()
        try:
            # In a thread of its own, because the SDK's flush takes as long as it takes.
            threading.Thread(target=self._batches.force_flush, name="otel-audit-flush", daemon=True).start()
        except RuntimeError:
            # No new thread starts while the interpreter ends; the batch worker's next round will do.
            _logger.debug("flushing by the batch worker")
        return settled(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Stop: what could not be sent by now is given up and counted."""
        self._delivery.stop()
        self._batches.shutdown()  # type: ignore[no-untyped-call]


class Delivery(LogRecordExporter):
    """Hands batches to an exporter until they are accepted; knows how many wait and how many were lost.

    is_refusal_final: whether the exporter's last failure would repeat for ever with the same payload.
    """

    def __init__(
        self,
        exporter: LogRecordExporter,
        is_refusal_final: Callable[[], bool],
        waiting_max: int,
        retry_for_s: float,
    ) -> None:
        self._exporter = exporter
        self._waiting_max = waiting_max
        self._retry_for_s = retry_for_s
        self._is_refusal_final = is_refusal_final
        self._stopped = threading.Event()
        self._start_counting()
        if hasattr(os, "register_at_fork"):
            forked = WeakMethod(self._start_counting)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _start_counting(self) -> None:
        # Again in a forked child: the SDK empties its queue, those events are the parent's to send.
        self._change = threading.Condition()
        self._admitted = self._settled = self._lost = 0

    def admit(self, timeout_s: float) -> bool:
        """Take a place in the queue, waiting up to timeout_s for one; False when there is none."""
        with self._change:
            room = self._change.wait_for(
                lambda: self._admitted - self._settled < self._waiting_max, timeout_s
            )
            if not room or self._stopped.is_set():
                return False
            self._admitted += 1
            return True

    def watch(self) -> Callable[[float], bool]:
        """A wait, up to its timeout in seconds, for all admitted so far; whether none of it was lost."""
        admitted, lost = self._admitted, self._lost

        def settled(timeout_s: float) -> bool:
            with self._change:
                in_time = self._change.wait_for(lambda: self._settled >= admitted, timeout_s)
                return in_time and self._lost == lost

        return settled

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send one batch; FAILURE when any of it was lost."""
        lost = len(batch)
        try:
            lost = sum(self._deliver(part) for part in _parts(batch))
        finally:
            with self._change:
                self._settled += len(batch)
                self._lost += lost
                self._change.notify_all()
        if not lost:
            return LogRecordExportResult.SUCCESS
        _logger.error("the audit receiver did not accept %d events; %d lost so far", lost, self._lost)
        return LogRecordExportResult.FAILURE

    def _deliver(self, part: Sequence[ReadableLogRecord]) -> int:
        """Number of records lost."""
        give_up_at = time.monotonic() + self._retry_for_s
        pause_s = RETRY_PAUSE_S
        while not self._attempt(part):
            if self._is_refusal_final():
                if len(part) == 1:
                    return 1
                # One record that no receiver can take must not take its neighbours with it.
                half = len(part) // 2
                return self._deliver(part[:half]) + self._deliver(part[half:])
            if time.monotonic() >= give_up_at or self._stopped.wait(pause_s):
                return len(part)
            pause_s = min(2 * pause_s, RETRY_PAUSE_MAX_S)
        return 0

    def _attempt(self, part: Sequence[ReadableLogRecord]) -> bool:
        try:
            return self._exporter.export(part) is LogRecordExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever it was, the next batch must still go out
            _logger.warning("audit export raised %s", type(error).__name__)
            return False

    def stop(self) -> None:
        """End all retries; the batch being sent is the last attempt."""
        self._stopped.set()
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        """Called by the SDK at its end; stop() has done the work."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits in here."""
        return True


def _parts(batch: Sequence[ReadableLogRecord]) -> list[list[ReadableLogRecord]]:
    parts: list[list[ReadableLogRecord]] = []
    weight = BATCH_BYTES_MAX
    for record in batch:
        own = _weight(record.log_record.attributes)
        if weight + own > BATCH_BYTES_MAX:
            parts.append([])
            weight = 0
        parts[-1].append(record)
        weight += own
    return parts


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else 3 * len(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, (list, tuple)):
        return 8 + sum(map(_weight, value))
    if isinstance(value, Mapping):
        return 8 + sum(8 + len(key) + _weight(item) for key, item in value.items())
    return 8


class _OwnSession(requests.Session):
    """Sends what the audit settings say and nothing that belongs to the app's own telemetry.

    The SDK's exporter adds the headers of OTEL_EXPORTER_OTLP_HEADERS, often the key of another vendor, and
    takes a redirect for an acceptance.
    """

    def __init__(self, config: ExporterConfig) -> None:
        super().__init__()
        self.last_status = 0
        self._own = _own_headers(config)
        self._certificate = config.certificate
        # Also keeps requests from replacing the key by what a .netrc has for the host.
        self.auth = self._sign
        if hasattr(os, "register_at_fork"):
            forked = WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _after_fork(self) -> None:
        # A child that wrote to the parent's open connections would mix two requests.
        self.mount("http://", HTTPAdapter())
        self.mount("https://", HTTPAdapter())

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        for name in [n for n in request.headers if n.lower() not in _PROTOCOL_HEADERS]:
            del request.headers[name]
        request.headers.update(self._own)
        return request

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request; a redirect is an error, never an acceptance."""
        self.last_status = 0
        # A CA bundle of the environment would win over the session's own.
        response = super().send(
            request, **kwargs | ({"verify": self._certificate} if self._certificate else {})
        )
        self.last_status = response.status_code
        if 300 <= response.status_code < 400:
            response.close()
            raise requests.exceptions.InvalidURL(
                f"the endpoint answered {response.status_code}: it is no receiver"
            )
        return response


_PROTOCOL_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "user-agent",
    }
)


def _own_headers(config: ExporterConfig) -> dict[str, str]:
    headers = {name.lower(): value for name, value in config.headers.items()}
    if config.key:
        headers["authorization"] = f"Bearer {config.key}"
    return headers


def _http_exporter(config: ExporterConfig, session: _OwnSession) -> LogRecordExporter:
    base = config.endpoint.rstrip("/")
    exporter = OTLPLogExporter(
        endpoint=base if base.endswith(LOGS_PATH) else base + LOGS_PATH,
        timeout=config.timeout_s,
        compression=Compression.Gzip,
        session=session,
        meter_provider=NoOpMeterProvider(),
    )
    # The exporter has just filled these from the app's own variables where it found some.
    session.verify = True
    certificate, key = config.client_certificate, config.client_key
    session.cert = (certificate, key) if certificate and key else certificate
    return exporter


def _grpc_exporter(config: ExporterConfig) -> LogRecordExporter:
    try:
        import grpc
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
    except ImportError:
        raise AuditError(
            "the gRPC exporter is not installed", hint='pip install "otel-audit[grpc]"'
        ) from None
    insecure = config.endpoint.startswith("http://")
    files = (config.certificate, config.client_key, config.client_certificate)
    pems = [Path(path).read_bytes() if path else None for path in files]
    return GrpcExporter(
        endpoint=config.endpoint,
        insecure=insecure,
        credentials=None if insecure else grpc.ssl_channel_credentials(*pems),
        # Without any, the exporter would take the app's own.
        headers=_own_headers(config) or {"x-otel-audit": "no-key"},
        timeout=config.timeout_s,
        compression=grpc.Compression.Gzip,
        meter_provider=NoOpMeterProvider(),
    )
