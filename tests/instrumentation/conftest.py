from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_audit.instrumentation import audit
from tests.support.otlp_sink import OtlpSink, http_sink


@pytest.fixture(autouse=True)
def no_audit_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with http_sink() as running:
        yield running


@pytest.fixture
def ingest_key() -> str:
    return f"oak_{secrets.token_hex(6)}_{secrets.token_hex(21)}x"


@pytest.fixture
def configure(sink: OtlpSink, ingest_key: str) -> Iterator[Callable[..., None]]:
    """`audit.configure` towards the sink with the shortest delay; shut down after the test."""

    def start(**given: Any) -> None:
        settings: dict[str, Any] = {"endpoint": sink.url, "key": ingest_key, "service_name": "shop"}
        audit.configure(**settings | {"schedule_delay_ms": 1, "on_error": "raise"} | given)

    yield start
    audit.shutdown(timeout_s=0.1)
