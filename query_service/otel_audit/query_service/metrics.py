"""Prometheus metrics of one server. Labels name no organization, no user and nothing a client chooses."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_audit.exporter.redaction.rules import ENGINE_ERROR

# Around the promise for a page (0.3 s) and up to the deadline of a query (30 s).
_QUERY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The meters, each named after what it counts. Thread-safe; `registry` is this server's own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.ingest_rows = Counter(
            "otel_audit_ingest_rows", "Audit events acknowledged", ["transport"], registry=registry
        )
        self.redactions = Counter(
            "otel_audit_redactions", "Replacements made by redaction", ["rule"], registry=registry
        )
        # So that an alert has something to compare with before the first failure.
        self.redactions.labels(ENGINE_ERROR)
        self.hot_rows = Gauge("otel_audit_hot_rows", "Events not yet in a Parquet file", registry=registry)
        self.sealed_files = Gauge("otel_audit_sealed_files", "Live Parquet files", registry=registry)
        self.degraded = Gauge("otel_audit_degraded", "Damages that readyz names", registry=registry)
        self.query_seconds = Histogram(
            "otel_audit_query_seconds",
            "Time from admission to answer",
            ["route", "status"],
            buckets=_QUERY_BUCKETS_S,
            registry=registry,
        )
        self.exports = Counter(
            "otel_audit_exports", "Exports by how they ended", ["outcome"], registry=registry
        )
        self.refusals = Counter("otel_audit_refusals", "Requests refused", ["status"], registry=registry)
        self.stream_subscribers = Gauge(
            "otel_audit_stream_subscribers", "Open live streams", registry=registry
        )
        self.stream_dropped = Counter(
            "otel_audit_stream_dropped", "Events a slow stream was told it missed", registry=registry
        )


def metrics_app(registry: CollectorRegistry) -> Starlette:
    """`GET /metrics` in the Prometheus text format, meant for a listener of its own."""

    def scrape(_request: Request) -> Response:
        return PlainTextResponse(
            generate_latest(registry),
            headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"},
        )

    return Starlette(routes=[Route("/metrics", scrape)])
