"""Percentiles of measured times."""

from __future__ import annotations


def summary(times_ms: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the maximum, ms."""
    ordered = sorted(times_ms)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"p50_ms": at(0.50), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": round(ordered[-1], 2)}
