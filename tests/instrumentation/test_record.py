from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import pytest
from opentelemetry._logs import Logger, NoOpLogger

from otel_audit.instrumentation import AuditError, audit
from otel_audit.instrumentation.config import ExporterConfig
from otel_audit.instrumentation.event import InvalidEvent
from otel_audit.instrumentation.testing import capture


class Broken:
    """An exporter's processor whose disk is gone."""

    def __init__(self, config: ExporterConfig) -> None:
        self.config = config

    @property
    def logger(self) -> Logger:
        raise OSError("no space left on device, while writing secret")

    def flush(self, timeout_s: float) -> bool:
        raise OSError

    def shutdown(self, timeout_s: float) -> None:
        raise OSError


class Quiet(Broken):
    @property
    def logger(self) -> Logger:
        return NoOpLogger("quiet")

    def flush(self, timeout_s: float) -> bool:
        return True

    def shutdown(self, timeout_s: float) -> None:
        return None


def start(**given: Any) -> None:
    settings: dict[str, Any] = {"endpoint": "http://127.0.0.1:1", "exporter": Quiet}
    audit.configure(**settings | given)


def test_record_returns_the_id_of_the_event_it_recorded() -> None:
    with capture() as events:
        record_id = audit.record("data_access", "delete", target=("file", "f-81", "Q3.xlsx"))
    assert [event.record_id for event in events] == [record_id]
    assert (events[0].target_type, events[0].target_id, events[0].target_name) == ("file", "f-81", "Q3.xlsx")
    assert (events[0].severity, events[0].outcome) == ("info", "success")


def test_an_action_brings_its_severity_and_outcome_and_the_caller_may_differ() -> None:
    with capture() as events:
        audit.record("authentication", "login_failed")
        audit.record("data_access", "read", severity="critical", outcome="denied")
    assert [(e.severity, e.outcome) for e in events] == [("warning", "failure"), ("critical", "denied")]


def test_an_invalid_event_does_not_disturb_the_app_but_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start()
    before = audit.counts().refused
    with caplog.at_level(logging.WARNING, "otel_audit"):
        for _ in range(3):
            assert audit.record("miscellaneous", "read", message="do not log me") is None
    assert audit.counts().refused == before + 3
    assert len(caplog.messages) <= 1
    assert "do not log me" not in caplog.text


def test_a_broken_exporter_does_not_disturb_the_app_and_its_message_is_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start(exporter=Broken)
    before = audit.counts().failed
    assert audit.record("data_access", "read") is None
    assert audit.flush() is False
    audit.shutdown()
    assert audit.counts().failed == before + 1
    assert "secret" not in caplog.text


def test_refusals_surface_when_the_app_asks_for_it() -> None:
    start(on_error="raise")
    with pytest.raises(InvalidEvent):
        audit.record("miscellaneous", "read")
    start(on_error="raise", exporter=Broken)
    with pytest.raises(AuditError):
        audit.record("data_access", "read")
    audit.configure(exporter=Quiet)


def test_a_test_notices_an_invalid_event_and_may_ask_not_to() -> None:
    with capture(), pytest.raises(InvalidEvent):
        audit.record("data_access", "read", target=("a", "b", "c", "d"))
    with capture(on_error="count") as events:
        assert audit.record("data_access", "read", target=("a", "b", "c", "d")) is None
    assert events == []


def test_captured_events_do_not_leave_and_captures_nest() -> None:
    sent: list[Any] = []

    class Recording(Quiet):
        @property
        def logger(self) -> Logger:
            sent.append(1)
            return NoOpLogger("recording")

    start(exporter=Recording)
    with capture() as outer:
        audit.record("data_access", "read")
        with capture() as inner:
            audit.record("data_access", "update")
    audit.record("data_access", "delete")
    assert ([e.action for e in outer], [e.action for e in inner], len(sent)) == (["read"], ["update"], 1)


def test_nothing_is_recorded_without_an_endpoint_and_after_shutdown() -> None:
    audit.configure()
    assert audit.record("data_access", "read") is None
    start()
    assert audit.record("data_access", "read") is not None
    audit.shutdown()
    assert audit.record("data_access", "read") is None
    assert audit.flush() is True


def test_the_configured_tenant_is_used_where_the_context_names_none() -> None:
    start(tenant="acme")
    with capture() as events:
        audit.record("data_access", "read")
        audit.record("data_access", "read", tenant="globex")
    assert [event.tenant for event in events] == ["acme", "globex"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_counts_under_an_emitter_id_of_its_own() -> None:
    from otel_audit.instrumentation.emitter import Sequence

    sequence = Sequence()
    parent = sequence.next("acme", "standard")
    assert sequence.next("acme", "standard") == (parent[0], 2)
    assert sequence.next("acme", "rag") == (parent[0], 1)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Newer Pythons warn about forking beside other threads.
        child = os.fork()
    if child == 0:
        emitter_id, number = sequence.next("acme", "standard")
        os.write(writing, f"{emitter_id} {number}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    emitter_id, text = os.read(reading, 100).decode().split()
    os.close(reading)
    os.close(writing)
    assert emitter_id != parent[0]
    assert text == "1"


def test_counting_too_many_tenants_starts_a_new_emitter_instead_of_growing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from otel_audit.instrumentation import emitter

    monkeypatch.setattr(emitter, "COUNTERS_MAX", 3)
    sequence = emitter.Sequence()
    numbered = [sequence.next(f"t{n}", "standard") for n in range(4)]
    assert len({emitter_id for emitter_id, _ in numbered}) == 2
    assert [number for _, number in numbered] == [1, 1, 1, 1]
