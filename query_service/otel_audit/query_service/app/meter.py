"""Counts what the receiver stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ..metrics import Metrics

Observer = Callable[[Mapping[str, pa.RecordBatch]], None]


def stored_meter(metrics: Metrics, transport: str) -> Observer:
    """What an Ingest calls with the rows it has made durable. transport: grpc, http or handover."""
    rows = metrics.ingest_rows.labels(transport)

    def observe(stored: Mapping[str, pa.RecordBatch]) -> None:
        for batch in stored.values():
            rows.inc(batch.num_rows)
            hits = pc.list_flatten(batch.column("redactions"))
            if len(hits):
                rules, counts = hits.field("rule").to_pylist(), hits.field("count").to_pylist()
                for rule, count in zip(rules, counts, strict=True):
                    metrics.redactions.labels(rule).inc(count)

    return observe
