"""The state behind `audit`: one trail a process, which counts what it could not record and never raises."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from otel_audit.instrumentation.config import exporter_config, find_resolver, sdk_disabled
from otel_audit.instrumentation.context import (
    ACTOR_FIELDS,
    Resolver,
    current_facts,
    current_request,
    with_actor,
)
from otel_audit.instrumentation.emitter import Emitter, ProcessorFactory, Sequence, find_exporter
from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.event import AuditEvent, InvalidEvent
from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.instrumentation.vocabulary import (
    ActorType,
    Outcome,
    default_outcome,
    default_severity,
    is_failed_sign_in,
)

logger: Final = logging.getLogger("otel_audit")
OnError = Literal["count", "raise"]
SHUTDOWN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Events since the process started. refused: no valid event; failed: the exporter did not take it;
    unrecorded: nothing is configured, or OpenTelemetry is disabled."""

    recorded: int = 0
    refused: int = 0
    failed: int = 0
    unrecorded: int = 0


class Capture:
    """Takes events instead of the exporter while a test runs."""

    def __init__(self, on_error: OnError) -> None:
        self.events: list[AuditEvent] = []
        self.on_error = on_error


class Trail:
    """Builds events from what a caller says and what is known around it, and emits them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sequence = Sequence()
        self._emitter: Emitter | None = None
        self._settled = False  # configured, disabled, or found unconfigured: do not look again
        self._tenant: str | None = None
        self._on_error: OnError = "count"
        self._resolver: Resolver | None = None
        self._captures: list[Capture] = []
        self._counts = dict.fromkeys(Counts.__slots__, 0)
        self._said: set[str] = set()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it at that moment.
        self._lock = threading.RLock()

    @property
    def resolver(self) -> Resolver | None:
        """The resolver configured for the process, from the environment when nothing was configured."""
        self._settle()
        return self._resolver

    @property
    def counts(self) -> Counts:
        with self._lock:
            return Counts(**self._counts)

    def configure(
        self,
        given: Mapping[str, Any],
        *,
        resolver: Resolver | str | None,
        on_error: OnError,
        exporter: str | ProcessorFactory,
    ) -> None:
        """Start recording as told, in place of what was configured before. Raises InvalidConfig."""
        former = self._emitter
        try:
            with self._lock:
                self._settled, self._emitter = True, None
                self._on_error = on_error
                self._resolver = find_resolver(resolver, os.environ)
                config = exporter_config(given, os.environ)
                self._tenant = config.tenant if config else given.get("tenant")
                if sdk_disabled(os.environ):
                    self.say_once("disabled", "OTEL_SDK_DISABLED is true: no audit event will be recorded")
                elif config is None:
                    self.say_once("endpoint", "no audit endpoint is set: no audit event will be recorded")
                else:
                    self._emitter = Emitter(find_exporter(exporter)(config), self._sequence)
        finally:
            # Outside the lock: it may take seconds, and whoever records must not wait for it.
            self._close(former, SHUTDOWN_S)

    def _settle(self) -> None:
        if self._settled:
            return
        with self._lock:
            if self._settled:
                return
            try:
                self.configure({}, resolver=None, on_error="count", exporter="otlp")
            except Exception as error:  # noqa: BLE001 - the app never asked for this, so it must not see it
                self._report("settings", error)

    def record(self, category: str, action: str, given: dict[str, Any]) -> str | None:
        """The record id, or None when nothing was recorded. Raises only for on_error="raise"."""
        kind = "refused"
        try:
            capture = self._captures[-1] if self._captures else None
            if capture is None:
                self._settle()
            emitter = self._emitter
            event = self._event(category, action, given)
            request = current_request()
            if request is not None and _is_refusal(event):
                request.denied = True
            if capture is not None:
                capture.events.append(event)
            elif emitter is None:
                self._count("unrecorded")
                return None
            else:
                kind = "failed"
                emitter.emit(event)
            self._count("recorded")
            return event.record_id
        except Exception as error:
            self._count(kind)
            self._report(kind, error)
            if (self._captures[-1] if self._captures else self).on_error == "raise":
                if isinstance(error, AuditError):
                    raise
                raise AuditError("the event could not be recorded", hint=type(error).__name__) from error
            return None

    @property
    def on_error(self) -> OnError:
        return self._on_error

    def _event(self, category: str, action: str, given: dict[str, Any]) -> AuditEvent:
        target = given.pop("target")
        facts = current_facts()
        if is_failed_sign_in(category, action) and any(given.get(name) for name in ACTOR_FIELDS):
            # Whoever typed a name that failed is not who an earlier sign-in in this request was.
            facts = {name: value for name, value in facts.items() if name not in ACTOR_FIELDS}
        facts = with_actor(facts, given)
        facts["request_id"] = canonical_uuid(facts.get("request_id"))
        facts["tenant"] = facts.get("tenant") or self._tenant
        facts["user_type"] = facts.get("user_type") or _actor_type(category, action, facts)
        facts.setdefault("record_id", uuid7())
        facts.setdefault("time_unix_nano", time.time_ns())
        facts.setdefault("outcome", default_outcome(category, action).value)
        facts.setdefault("severity", default_severity(category, action).value)
        facts.update(_target(target))
        return AuditEvent(category=category, action=action, **facts)

    def flush(self, timeout_s: float) -> bool:
        emitter = self._emitter
        try:
            return emitter is None or emitter.processor.flush(timeout_s)
        except Exception as error:  # noqa: BLE001 - flushing must not break the app that asks for it
            self._report("flush", error)
            return False

    def shutdown(self, timeout_s: float) -> None:
        with self._lock:
            emitter, self._emitter, self._settled = self._emitter, None, True
        self._close(emitter, timeout_s)

    def _close(self, emitter: Emitter | None, timeout_s: float) -> None:
        try:
            if emitter is not None:
                emitter.processor.shutdown(timeout_s)
        except Exception as error:  # noqa: BLE001 - the app is ending or has moved on; let it
            self._report("shutdown", error)

    def push_capture(self, capture: Capture) -> None:
        with self._lock:
            self._captures.append(capture)

    def pop_capture(self, capture: Capture) -> None:
        with self._lock:
            self._captures.remove(capture)

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1

    def _report(self, kind: str, error: Exception) -> None:
        # Only our own messages are known to hold nothing of the event itself.
        what = f"{error} {error.hint}".strip() if isinstance(error, AuditError) else type(error).__name__
        self.say_once(
            f"{kind}:{type(error).__name__}", f"audit {kind}: {what}; counted from now on, not logged"
        )

    def say_once(self, kind: str, message: str) -> None:
        """Log a warning the first time this kind of trouble is met; kinds are few and known."""
        with self._lock:
            if kind in self._said:
                return
            self._said.add(kind)
        logger.warning("%s", message)


def _is_refusal(event: AuditEvent) -> bool:
    return event.outcome == Outcome.DENIED or is_failed_sign_in(event.category, event.action)


def _actor_type(category: str, action: str, facts: Mapping[str, Any]) -> str:
    if facts.get("user_id"):
        return ActorType.USER.value
    if facts.get("user_email") and not is_failed_sign_in(category, action):
        return ActorType.USER.value
    asked_by_somebody = current_request() is not None or is_failed_sign_in(category, action)
    return (ActorType.ANONYMOUS if asked_by_somebody else ActorType.SYSTEM).value


def _target(target: Any) -> dict[str, Any]:
    if target is None:
        return {}
    parts = (target,) if isinstance(target, str) else tuple(target)
    if not 1 <= len(parts) <= 3:
        raise InvalidEvent("target", "not (type, id, name)", hint='such as ("file", "f-81", "Q3.xlsx")')
    return dict(zip(("target_type", "target_id", "target_name"), parts, strict=False))


trail: Final = Trail()
"""The process's own."""
