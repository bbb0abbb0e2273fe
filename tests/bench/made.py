"""Many events quickly: one day's traffic as a template, every copy with ids and times of its own."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.store.schema import MICROS_UTC, ROW
from tests.support.events import event_rows

_HEX_AT = [n for n in range(36) if n not in (8, 13, 18, 23)]


class Template:
    """`rows` events spread over `length`, of which copies are made that start at any time."""

    def __init__(self, rows: int, length: timedelta, *, seed: int = 0) -> None:
        start = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        self._rows = event_rows(rows, start=start, end=start + length, seed=seed).select(ROW.names)
        self._since = pc.subtract(self._rows["time"], pa.scalar(start, MICROS_UTC)).cast(pa.int64())
        self._draw = np.random.default_rng(seed)

    def starting(self, start: datetime) -> pa.RecordBatch:
        """A copy (schema ROW) whose first event is at about `start`, received at its own time."""
        count = self._rows.num_rows
        micros = pc.add(self._since, int(start.timestamp() * 1_000_000))
        time = micros.cast(MICROS_UTC)
        fresh = {
            "time": time,
            "received_time": time,
            "time_unix_nano": pc.multiply(micros, 1_000),
            "event_id": self._ids(micros.to_numpy() // 1_000),
            "request_id": self._ids(None).take(pa.array(np.arange(count) // 3)),
            "trace_id": self._hex(16).take(pa.array(np.arange(count) // 3)),
            "span_id": self._hex(8),
            "content_digest": self._hex(16),
            "date": pc.strftime(time, "%Y-%m-%d"),
        }
        columns = [_array(fresh.get(name, self._rows[name])) for name in ROW.names]
        return pa.RecordBatch.from_arrays(columns, schema=ROW)

    def _hex(self, size: int) -> pa.Array:
        digits = np.frombuffer(self._draw.bytes(self._rows.num_rows * size).hex().encode(), np.uint8)
        return _texts(digits.reshape(-1, 2 * size))

    def _ids(self, millis: np.ndarray[tuple[int], np.dtype[np.int64]] | None) -> pa.Array:
        """UUIDs: of version 7 at these times, or of version 4."""
        raw = np.frombuffer(self._draw.bytes(self._rows.num_rows * 16), np.uint8).reshape(-1, 16).copy()
        if millis is not None:
            raw[:, :6] = millis.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
        raw[:, 6] = raw[:, 6] & 0x0F | (0x70 if millis is not None else 0x40)
        raw[:, 8] = raw[:, 8] & 0x3F | 0x80
        text = np.full((len(raw), 36), ord("-"), np.uint8)
        text[:, _HEX_AT] = np.frombuffer(raw.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
        return _texts(text)


def _texts(codes: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> pa.Array:
    count, width = codes.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(codes.tobytes())]
    )


def _array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
