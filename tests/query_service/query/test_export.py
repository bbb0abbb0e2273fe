"""Exports: literal bytes, order, constant memory, and what a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.exporter.store.schema import COLUMN_NAMES, SCHEMA_VERSION_KEY, VIEW
from otel_audit.exporter.store.snapshot import Snapshot
from otel_audit.query_service import export as export_module
from otel_audit.query_service.engine import Engine, FilesChanged
from otel_audit.query_service.event_json import to_json
from otel_audit.query_service.export import MEDIA_TYPES, export
from otel_audit.query_service.export_text import FORMULA_STARTS
from otel_audit.query_service.filters import FilterError, Filters
from otel_audit.query_service.search import search
from tests.support.events import DiskStore, event_row, event_rows, table_of

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)
ALL = Filters.parse([("range", "30d")], now=NOW)
ENGINE = Engine(memory_limit="256MB")

GOLDEN = (
    ",".join(COLUMN_NAMES) + "\r\n"
    '"acme","w1",7,"0190a1b2-0000-7000-8000-00000000000a",2026-03-05T01:02:03.000004Z,,'
    "2026-03-05T01:02:04.500000Z,"
    '1772672523000004000,"security","permission_change",'
    '"audit.security.permission_change","success","warning",13,'
    '"said ""hi"", twice\nand left","u-1","ann@example.org","\'=SUM(A1:A9)","user","[""admin"",""a\\""b""]",,'
    '"10.0.0.1","\'+agent","sh_00","file","\'-1","","0190a1b2-0000-7000-8000-00000000000b",'
    '"abababababababababababababababab",,"docs",,,,"PUT","\'@route",403,'
    '"{""a"": {""before"": 1, ""after"": [2,3]}}",'
    '"{""k"":""v,w""}",,"[{""rule"":""jwt"",""field"":""message"",""count"":2}]","[]",,,"p1",'
    '"00112233445566778899aabbccddeeff"\r\n'
)


def golden_row() -> dict[str, Any]:
    return event_row(
        seq=7,
        event_id="0190a1b2-0000-7000-8000-00000000000a",
        time=datetime(2026, 3, 5, 1, 2, 3, 4, tzinfo=UTC),
        received_time=datetime(2026, 3, 5, 1, 2, 4, 500_000, tzinfo=UTC),
        category="security",
        action="permission_change",
        severity="warning",
        severity_number=13,
        message='said "hi", twice\nand left',
        user_id="u-1",
        user_email="ann@example.org",
        user_name="=SUM(A1:A9)",
        user_type="user",
        user_roles=["admin", 'a"b'],
        client_address="10.0.0.1",
        user_agent="+agent",
        session_id="sh_00",
        resource_type="file",
        resource_id="-1",
        resource_name="",
        request_id="0190a1b2-0000-7000-8000-00000000000b",
        trace_id="ab" * 16,
        service_name="docs",
        http_method="PUT",
        http_route="@route",
        http_status=403,
        changes='{"a": {"before": 1, "after": [2,3]}}',
        attributes='{"k":"v,w"}',
        redactions=[{"rule": "jwt", "field": "message", "count": 2}],
        flags=[],
        content_digest="00112233445566778899aabbccddeeff",
    )


def exported(store: DiskStore, form: str, filters: Filters = ALL, **options: Any) -> bytes:
    return b"".join(export(ENGINE, store, "acme", filters, form, **options))


def test_a_csv_is_these_bytes(tmp_path: Path) -> None:
    sealed, hot = DiskStore(tmp_path), DiskStore(tmp_path)
    sealed.add(table_of([golden_row()]))
    hot.add_hot(table_of([golden_row()]))
    assert exported(sealed, "csv").decode() == exported(hot, "csv").decode() == GOLDEN
    assert exported(hot, "csv", excel=True) == b"\xef\xbb\xbf" + GOLDEN.encode()


def test_an_export_of_nothing_is_a_header_or_an_empty_file(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    assert exported(store, "csv").decode() == ",".join(COLUMN_NAMES) + "\r\n"
    assert exported(store, "ndjson") == b""
    assert pq.read_table(io.BytesIO(exported(store, "parquet"))).num_rows == 0


def test_an_unknown_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(FilterError, match="format"):
        export(ENGINE, DiskStore(tmp_path), "acme", ALL, "xlsx")
    assert set(MEDIA_TYPES) == {"csv", "ndjson", "parquet"}


nasty = st.text(
    st.sampled_from([*FORMULA_STARTS, '"', ",", "'", " ", "a", "é", "\n", "\\", "☃", "\u2028", ";", "\x7f"]),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(nasty, nasty, nasty), min_size=1, max_size=5))
def test_cells_come_back_guarded_and_otherwise_as_stored(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]]
) -> None:
    store = DiskStore(tmp_path_factory.getbasetemp())
    store.add_hot(
        table_of(
            event_row(seq=n, message=a, user_name=b, content_digest=c or "0")
            for n, (a, b, c) in enumerate(cells)
        )
    )
    header, *records = csv.reader(io.StringIO(exported(store, "csv").decode(), newline=""), strict=True)
    assert tuple(header) == COLUMN_NAMES
    places = [COLUMN_NAMES.index(name) for name in ("message", "user_name", "content_digest")]

    def guarded(text: str) -> str:
        return "'" + text if text.startswith(tuple(FORMULA_STARTS)) else text

    assert [[record[place] for place in places] for record in records] == [
        [guarded(a), guarded(b), guarded(c or "0")] for a, b, c in cells
    ]
    lines = exported(store, "ndjson").decode().split("\n")
    assert lines.pop() == ""
    events = [json.loads(line) for line in lines]
    assert [(e["message"], e["user_name"], e["content_digest"]) for e in events] == [
        (a, b, c or "0") for a, b, c in cells
    ]


def test_ndjson_is_the_event_of_the_api_exactly(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    exact = '{"big":123456789012345678901234567890,"float":1.10,"s":"é\\u00e9"}'
    strange = {"seq": 8, "attributes": exact, "otel_resource": "not json", "changes": '{\n "a": 1\r\n}'}
    store.add(table_of([golden_row(), golden_row() | strange]))
    first, second = exported(store, "ndjson").splitlines()
    assert exact.encode() in second
    assert [json.loads(first), json.loads(second)] == search(ENGINE, store, "acme", ALL).events[::-1]
    assert list(json.loads(first)) == VIEW.names


def crossing(root: Path, files: int = 40, rows: int = 50) -> tuple[DiskStore, list[dict[str, Any]]]:
    """Many files that all span the same two days, with equal times, and hot rows among them."""
    draw, store, everything = random.Random(3), DiskStore(root), list[dict[str, Any]]()
    for part in range(files + 1):
        made: list[dict[str, Any]] = []
        for _ in range(rows):
            at = START + timedelta(minutes=draw.randrange(2880))
            seq = len(everything) + len(made) + 1
            event_id = f"{draw.getrandbits(32):08x}-0000-7000-8000-{seq:012x}"
            made.append(event_row(seq=seq, time=at, event_id=event_id, date="2026-03-01"))
        everything += made
        (store.add_hot if part == files else store.add)(table_of(made))
    return store, sorted(everything, key=lambda row: (row["time"], row["event_id"]))


@pytest.mark.parametrize(("slice_rows", "batch_rows"), [(25_000, 30_000), (100, 120), (300, 7), (1, 1_000)])
def test_many_overlapping_files_leave_in_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_rows: int, batch_rows: int
) -> None:
    monkeypatch.setattr(export_module, "_SLICE_ROWS", slice_rows)
    monkeypatch.setattr(export_module, "_BATCH_ROWS", batch_rows)
    files, rows = (16, 50) if slice_rows >= 100 and batch_rows > 10 else (2, 10)
    store, ordered = crossing(tmp_path, files, rows)
    stream = export(ENGINE, store, "acme", ALL, "ndjson")
    lines = b"".join(stream).splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [row["seq"] for row in ordered]
    assert stream.rows == len(ordered)
    parquet = pq.read_table(io.BytesIO(exported(store, "parquet")))
    assert parquet["seq"].to_pylist() == [row["seq"] for row in ordered]


def test_all_events_of_one_microsecond_leave_in_bounded_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_BATCH_ROWS", 10)
    store = DiskStore(tmp_path)
    store.add(table_of([event_row(seq=n, event_id=f"{n:036d}", time=START) for n in range(95)]))
    assert [json.loads(line)["seq"] for line in exported(store, "ndjson").splitlines()] == [*range(95)]


def test_an_export_takes_the_filter_and_the_time_range(tmp_path: Path) -> None:
    store, ordered = crossing(tmp_path, files=4)
    filters = Filters.parse(
        [("from", "2026-03-01T06:00:00Z"), ("to", "2026-03-01T18:00:00Z"), ("action", "read")], now=NOW
    )
    low, high = START + timedelta(hours=6), START + timedelta(hours=18)
    expected = [row["seq"] for row in ordered if low <= row["time"] < high]
    assert [json.loads(line)["seq"] for line in exported(store, "ndjson", filters).splitlines()] == expected
    assert exported(store, "ndjson", filters.replace("action", ["nothing"])) == b""


def test_what_arrives_during_an_export_is_not_in_it(tmp_path: Path) -> None:
    store, ordered = crossing(tmp_path, files=4)
    stream = export(ENGINE, store, "acme", ALL, "csv")
    header = next(stream)
    store.add_hot(table_of([event_row(seq=99_999, time=START)]))
    store.add(table_of([event_row(seq=99_998, time=START)]))
    assert (header + b"".join(stream)).count(b"\r\n") == len(ordered) + 1


class Vanishing(DiskStore):
    """Seals what was hot and rewrites a file after the first snapshot: every file name changes."""

    snapshots_seen = 0

    def snapshot(self, tenant: str, **options: Any) -> Snapshot:
        snapshot = super().snapshot(tenant, **options)
        self.snapshots_seen += 1
        if self.snapshots_seen == 1:
            self.seal(tenant)
            for old in snapshot.files[:3]:
                rows = pq.ParquetFile(old.path).read()
                rows = rows.append_column("retention", pa.array([old.retention] * rows.num_rows))
                rows = rows.append_column("date", pa.array([old.date] * rows.num_rows))
                self.replace(tenant, old, rows.cast(VIEW))
        return snapshot


def test_files_that_are_replaced_during_an_export_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_SLICE_ROWS", 60)
    store = Vanishing(tmp_path)
    rows = event_rows(600, start=START, end=START + timedelta(hours=12))
    for start in range(0, 500, 100):
        store.add(rows.slice(start, 100))
    store.add_hot(rows.slice(500))
    expected = rows.sort_by([("time", "ascending"), ("event_id", "ascending")])["seq"].to_pylist()
    assert [json.loads(line)["seq"] for line in exported(store, "ndjson").splitlines()] == expected


def test_an_export_whose_files_stay_away_breaks_off(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    (ref,) = store.add(table_of([event_row(seq=1)]))
    ref.path.unlink()
    with pytest.raises(FilesChanged):
        exported(store, "csv")


def test_a_parquet_export_has_every_column_and_the_schema_version(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    rows = event_rows(500, start=START, end=START + timedelta(days=1))
    store.add(rows)
    table = pq.read_table(io.BytesIO(exported(store, "parquet")))
    assert table.schema.equals(VIEW)
    assert table.schema.metadata[SCHEMA_VERSION_KEY] == b"1"
    expected = rows.sort_by([("time", "ascending"), ("event_id", "ascending")]).to_pylist()
    assert [to_json(row) for row in table.to_pylist()] == [to_json(row) for row in expected]


def test_chunks_are_small_and_closing_ends_the_work(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(event_rows(3_000, start=START, end=START + timedelta(hours=20)))
    stream = export(ENGINE, store, "acme", ALL, "csv")
    chunks: Iterator[bytes] = iter(stream)
    assert len(next(chunks)) < 2_000
    assert 0 < len(next(chunks)) < 300_000
    stream.close()
    assert next(stream, None) is None


def test_an_export_never_holds_more_than_one_batch_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_SLICE_ROWS", 100)
    monkeypatch.setattr(export_module, "_BATCH_ROWS", 150)
    store, ordered = crossing(tmp_path, files=8)
    walk = export_module._Walk(ENGINE, store, "acme", ALL)
    sizes = [table.num_rows for table in walk.tables("seq")]
    assert sum(sizes) == len(ordered)
    # Slices are estimates, yet no table passes the bound and few are tiny.
    assert max(sizes) <= 150
    assert len(sizes) <= 3 * len(ordered) / 100
