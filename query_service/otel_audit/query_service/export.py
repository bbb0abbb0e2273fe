"""Export: everything a filter matches, ascending by (time, event_id), in constant memory.

Time is walked in slices of about as many rows as one file has, so that sorting never holds more.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Generator, Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.exporter.store.schema import PARQUET, VIEW
from otel_audit.exporter.store.snapshot import Snapshot, SnapshotSource

from .engine import Engine, FilesChanged, QueryFailed, Scan
from .export_text import CSV_HEADER, CSV_RECORD, JSON_LINE
from .filters import FilterError, Filters
from .position import Key, Position, micros, moment
from .search import SNAPSHOT_TRIES, key_condition, partial_of, position_condition, within

MEDIA_TYPES: Final = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
# About what a sealed file holds: fewer rows would read files again and again, more would only cost memory.
_SLICE_ROWS: Final = 25_000
# A slice is an estimate; when it holds more rows than this, the rest of it is asked for again.
_BATCH_ROWS: Final = 30_000
# One write to a socket: large enough to be cheap, small enough to notice a reader that went away.
_CHUNK_BYTES: Final = 256 * 1024
_EXPORT_SCHEMA: Final = VIEW.with_metadata(PARQUET.metadata)
_UTF8_BOM: Final = b"\xef\xbb\xbf"


class _Slice(NamedTuple):
    """One part of the export's time, [start_us, end_us) in µs since 1970-01-01 UTC."""

    start_us: int
    end_us: int


class ExportStream(Iterator[bytes]):
    """The bytes of an export, made as they are read. rows: written so far; partial: what is missing.

    Reading blocks on DuckDB, so read it on a worker thread. Closing it frees the query.
    """

    def __init__(self, walk: _Walk, format_name: str, *, excel: bool = False) -> None:
        self._walk = walk
        makers = {"csv": self._csv, "ndjson": self._ndjson, "parquet": self._parquet}
        self._chunks = makers[format_name]()
        self._prefix = _UTF8_BOM if excel else b""

    @property
    def rows(self) -> int:
        return self._walk.rows

    @property
    def partial(self) -> list[dict[str, str]]:
        return self._walk.partial

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._chunks.close()

    def _csv(self) -> Generator[bytes]:
        yield self._prefix + CSV_HEADER
        yield from self._lines(CSV_RECORD)

    def _ndjson(self) -> Generator[bytes]:
        yield from self._lines(JSON_LINE)

    def _lines(self, record: str) -> Generator[bytes]:
        for table in self._walk.tables(f"{record} AS line"):
            for chunk in table["line"].chunks:
                yield from _pieces(chunk)

    def _parquet(self) -> Generator[bytes]:
        sink = _Sink()
        with pq.ParquetWriter(sink, _EXPORT_SCHEMA, compression="zstd", compression_level=1) as writer:
            for table in self._walk.tables(", ".join(VIEW.names)):
                writer.write_table(table.select(VIEW.names).cast(_EXPORT_SCHEMA))
                yield from sink.taken()
        yield from sink.taken()


def export(
    engine: Engine,
    source: SnapshotSource,
    tenant: str,
    filters: Filters,
    format: str,  # noqa: A002 - the name of the parameter in the API and on the command line
    *,
    excel: bool = False,
) -> ExportStream:
    """The events that match, oldest first, as `csv`, `ndjson` or `parquet` bytes.

    excel: a byte order mark before a CSV, which that program needs to read UTF-8.
    What is acknowledged now is in it, what comes later is not. Raises FilterError, here; FilesChanged,
    QueryTimeout, QueryFailed, here or while it is read.
    """
    if format not in MEDIA_TYPES:
        raise FilterError("format", format, "not an export format", allowed=", ".join(MEDIA_TYPES))
    return ExportStream(_Walk(engine, source, tenant, filters), format, excel=excel and format == "csv")


def export_csv(engine: Engine, source: SnapshotSource, tenant: str, filters: Filters) -> ExportStream:
    """UTF-8, RFC 4180, header row, one column per stored column, formula cells prefixed with `'`."""
    return export(engine, source, tenant, filters, "csv")


def export_ndjson(engine: Engine, source: SnapshotSource, tenant: str, filters: Filters) -> ExportStream:
    """One event a line, exactly as stored, with the keys of the API."""
    return export(engine, source, tenant, filters, "ndjson")


def export_parquet(engine: Engine, source: SnapshotSource, tenant: str, filters: Filters) -> ExportStream:
    """One Parquet file of all columns plus retention and date."""
    return export(engine, source, tenant, filters, "parquet")


class _Walk:
    """Goes through time in slices; survives files that are replaced under it."""

    def __init__(self, engine: Engine, source: SnapshotSource, tenant: str, filters: Filters) -> None:
        self._engine, self._source, self._tenant, self._filters = engine, source, tenant, filters
        snapshot = source.snapshot(
            tenant, time_from=filters.time_from, time_to=filters.time_to, text=filters.text
        )
        self._position = Position(dict(snapshot.position), filters.now)
        self._snapshot = within(snapshot, self._position)
        self.partial = partial_of(snapshot)
        self.rows = 0

    def tables(self, columns: str) -> Iterator[pa.Table]:
        """`columns` of all rows in order, in tables of bounded size."""
        end_us = micros(self._filters.time_to)
        plan = _slices(self._snapshot, micros(self._filters.time_from), end_us)
        after: Key | None = None
        tries = 0
        for part in plan:
            while True:
                try:
                    table, key = self._fetch(columns, part, after)
                except FilesChanged:
                    tries += 1
                    if tries == SNAPSHOT_TRIES:
                        raise
                    self._renew(part.start_us)
                    continue
                tries = 0
                if table.num_rows:
                    self.rows += table.num_rows
                    after = key
                    yield table
                if table.num_rows < _BATCH_ROWS:
                    break

    def _renew(self, start_us: int) -> None:
        snapshot = self._source.snapshot(
            self._tenant,
            time_from=moment(start_us),
            time_to=self._filters.time_to,
            as_of=self._position.writers,
            text=self._filters.text,
        )
        known = {damage.file for damage in self._snapshot.damaged}
        if any(damage.file not in known for damage in snapshot.damaged):
            # What was sent so far promised these rows: better a broken download than one that looks whole.
            raise QueryFailed("a file was damaged during the export", hint="export again; see `verify`")
        self._snapshot = within(snapshot, self._position)

    def _fetch(self, columns: str, part: _Slice, after: Key | None) -> tuple[pa.Table, Key | None]:
        start, end = moment(part.start_us), moment(part.end_us)
        files = [ref for ref in self._snapshot.files if ref.time_min < end and ref.time_max >= start]
        condition, params = self._filters.where(time=False)
        straddle, more = position_condition(files, self._position)
        tests = ["time >= $s_from AND time < $s_to", condition, straddle]
        params |= more | {"s_from": start, "s_to": end, "s_rows": _BATCH_ROWS}
        if after is not None and after.time_us >= part.start_us:
            beyond, more = key_condition(after, ">")
            tests.append(beyond)
            params |= more
        with self._engine.scan(files, self._snapshot.hot) as scan:
            table = _ordered(scan, columns, " AND ".join(tests), params)
        if not table.num_rows:
            return table, None
        last = table.slice(table.num_rows - 1)
        key = Key(*(last[name][0].as_py() for name in ("key_time", "key_id", "key_writer", "key_seq")))
        return table, key


def _ordered(scan: Scan, columns: str, condition: str, params: dict[str, Any]) -> pa.Table:
    return scan.table(
        "SELECT * FROM (SELECT epoch_us(time) AS key_time, event_id AS key_id, writer AS key_writer,",
        "seq AS key_seq,", columns, "FROM", scan.source, "WHERE", condition, ")",
        "ORDER BY key_time, key_id, key_writer, key_seq LIMIT $s_rows",
        params=params,
    )  # fmt: skip


def _slices(snapshot: Snapshot, from_us: int, to_us: int) -> Iterator[_Slice]:
    """Cut [from, to) into parts of about _SLICE_ROWS rows, taking each file's rows as evenly spread."""
    spans = [(micros(ref.time_min), micros(ref.time_max) + 1, ref.rows) for ref in snapshot.files]
    if snapshot.hot.num_rows:
        times = pc.min_max(snapshot.hot["time"]).as_py()
        spans.append((micros(times["min"]), micros(times["max"]) + 1, snapshot.hot.num_rows))
    spans = [(max(a, from_us), min(b, to_us), rows) for a, b, rows in spans if a < to_us and b > from_us]
    if not spans:
        return
    edges = sorted({edge for a, b, _ in spans for edge in (a, b)})
    arriving = sorted(spans)
    active: list[tuple[int, float]] = []
    start, held, density, next_span = edges[0], 0.0, 0.0, 0
    for low, high in itertools.pairwise(edges):
        while next_span < len(arriving) and arriving[next_span][0] <= low:
            a, b, rows = arriving[next_span]
            heapq.heappush(active, (b, rows / (b - a)))
            density += rows / (b - a)
            next_span += 1
        while active and active[0][0] <= low:
            density -= heapq.heappop(active)[1]
        expected = max(0.0, density) * (high - low)
        if held and held + expected > _SLICE_ROWS:
            yield _Slice(start, low)
            start, held = low, 0.0
        pieces = min(high - low, int(expected // _SLICE_ROWS) + 1)
        for piece in range(1, pieces):
            cut = low + (high - low) * piece // pieces
            yield _Slice(start, cut)
            start = cut
        held += expected / pieces
    yield _Slice(start, edges[-1])


def _pieces(column: pa.Array) -> Iterator[bytes]:
    """The texts of a column one after the other, cut into chunks at record ends."""
    if isinstance(column.type, pa.DataType) and not pa.types.is_large_string(column.type):
        column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    if data is None:
        return
    ends = memoryview(offsets).cast("q")[column.offset : column.offset + len(column) + 1]
    text = memoryview(data)
    start = ends[0]
    for end in ends:
        if end - start >= _CHUNK_BYTES:
            yield bytes(text[start:end])
            start = end
    if ends[-1] > start:
        yield bytes(text[start : ends[-1]])


class _Sink:
    """What a ParquetWriter writes into; `taken` hands out what has come so far."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        self._parts.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> Iterator[bytes]:
        parts, self._parts = self._parts, []
        whole = b"".join(parts)
        for start in range(0, len(whole), _CHUNK_BYTES):
            yield whole[start : start + _CHUNK_BYTES]
