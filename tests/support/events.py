"""Realistic rows of schema VIEW, and a small SnapshotSource that keeps them in real Parquet files."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.store.files.parquet import encode_parquet
from otel_audit.exporter.store.intake.hot import join
from otel_audit.exporter.store.schema import PARQUET, TEXT, TEXT_LIST, VIEW
from otel_audit.exporter.store.snapshot import Damage, FileRef, Published, Snapshot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBERS = {"info": 9, "warning": 13, "error": 17, "critical": 21}
# category, action, severity, outcome, resource type, HTTP method, route, status
KINDS = (
    ("authentication", "login", "info", "success", "user", "POST", "/login", 200),
    ("authentication", "login_failed", "warning", "failure", "user", "POST", "/login", 401),
    ("authentication", "mfa_verify", "info", "success", "user", "POST", "/mfa", 200),
    ("data_access", "read", "info", "success", "file", "GET", "/files/{id}", 200),
    ("data_access", "download", "info", "success", "file", "GET", "/files/{id}/content", 200),
    ("data_access", "update", "info", "success", "qa_pair", "PUT", "/qa/{id}", 200),
    ("data_access", "retrieve", "info", "success", "source", "POST", "/ask", 200),
    ("data_access", "response_generate", "info", "success", "source", "POST", "/ask", 200),
    ("security", "permission_change", "warning", "success", "user", "PUT", "/users/{id}/roles", 200),
    ("security", "access_denied", "warning", "denied", "file", "GET", "/files/{id}", 403),
    ("system", "task_completed", "info", "success", None, None, None, None),
    ("system", "task_failed", "error", "failure", None, None, None, None),
    ("system", "error", "critical", "failure", None, "GET", "/files", 500),
)
RAG_ACTIONS = ("retrieve", "response_generate")
WEIGHTS = (8, 2, 5, 30, 10, 6, 12, 12, 1, 2, 8, 2, 1)
AGENTS = tuple(f"Mozilla/5.0 (X11; Linux x86_64) Chrome/{n}.0.0.0 Safari/537.36" for n in range(100, 140))
SERVICES = ("docs-web", "docs-worker", "auth", "gateway", "billing")


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def event_row(**given: Any) -> dict[str, Any]:
    """One row of schema VIEW; every column null but those given and the ones no event is without."""
    row: dict[str, Any] = dict.fromkeys(VIEW.names)
    row |= {"tenant": "acme", "writer": "w1", "seq": 1, "event_id": "0" * 8 + "-0000-7000-8000-" + "0" * 12}
    row |= {"category": "data_access", "action": "read", "outcome": "success", "severity": "info"}
    row |= {"severity_number": 9, "retention": "standard", "policy_version": "p1"} | given
    row["time"] = row["time"] or datetime(2026, 3, 1, 12, tzinfo=UTC)
    row["received_time"] = row["received_time"] or row["time"]
    row["time_unix_nano"] = row["time_unix_nano"] or micros(row["time"]) * 1000
    row["event_name"] = row["event_name"] or f"audit.{row['category']}.{row['action']}"
    row["date"] = row["date"] or row["time"].date().isoformat()
    row["content_digest"] = row["content_digest"] or hashlib.sha256(str(row).encode()).hexdigest()[:32]
    return row


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=VIEW)


def _id_of(time_us: int, bits: int) -> str:
    """A UUIDv7 of the time and 74 random bits."""
    return str(uuid.UUID(int=(time_us // 1000) << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits % 2**62))


def event_rows(
    count: int,
    *,
    start: datetime,
    end: datetime,
    tenant: str = "acme",
    writer: str = "w1",
    seq_from: int = 1,
    seed: int = 0,
) -> pa.Table:
    """`count` rows of ordinary traffic spread over [start, end), in time order, schema VIEW."""
    draw = random.Random(seed)
    low, high = micros(start), micros(end)
    times = sorted(draw.randrange(low, high) for _ in range(count))
    kinds = draw.choices(range(len(KINDS)), WEIGHTS, k=count)
    users = draw.choices(range(500), [1000 // (n + 1) + 1 for n in range(500)], k=count)
    things = draw.choices(range(20_000), k=count)
    bits = [draw.getrandbits(74) for _ in range(count)]
    requests = [f"{seed:08x}-0000-4000-8000-{n // 3:012x}" for n in range(count)]

    def pick(pool: Iterable[Any], index: list[int], kind: pa.DataType = TEXT) -> pa.Array:
        return pa.array(pool, kind).take(pa.array(index, pa.int32()))

    def same(value: Any, kind: pa.DataType = TEXT) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), count)

    stamp = pa.array(times, pa.int64()).cast(VIEW.field("time").type)
    category, action, severity, outcome, resource, method, route, status = zip(*KINDS, strict=True)
    changed = json.dumps({"roles": {"before": ["member"], "after": ["admin"]}})
    columns: dict[str, pa.Array] = {
        "tenant": same(tenant),
        "writer": same(writer),
        "seq": pa.array(range(seq_from, seq_from + count), pa.int64()),
        "event_id": pa.array([_id_of(t, b) for t, b in zip(times, bits, strict=True)]),
        "time": stamp,
        "received_time": stamp,
        "time_unix_nano": pa.array([t * 1000 for t in times], pa.int64()),
        "category": pick(category, kinds),
        "action": pick(action, kinds),
        "event_name": pick([f"audit.{c}.{a}" for c, a in zip(category, action, strict=True)], kinds),
        "outcome": pick(outcome, kinds),
        "severity": pick(severity, kinds),
        "severity_number": pick([NUMBERS[s] for s in severity], kinds, pa.int32()),
        "message": pa.array(
            [
                f"user-{u}@example.org: {action[k]} of Report {n}.xlsx"
                for u, k, n in zip(users, kinds, things, strict=True)
            ]
        ),
        "user_id": pick([f"u-{n:04d}" for n in range(500)], users),
        "user_email": pick([f"User-{n}@example.org" for n in range(500)], users),
        "user_name": pick([f"Person {n}" for n in range(500)], users),
        "user_type": same("user"),
        "user_roles": pick([["member"] if n % 9 else ["admin"] for n in range(500)], users, TEXT_LIST),
        "client_address": pick(
            [f"10.{n % 4}.{n // 256}.{n % 256}" if n % 5 else f"2001:db8::{n:x}" for n in range(500)], users
        ),
        "user_agent": pick([AGENTS[n % 40] for n in range(500)], users),
        "session_id": pick([f"sh_{n:032x}" for n in range(500)], users),
        "resource_type": pick(resource, kinds),
        "resource_id": pick([f"f-{n}" for n in range(20_000)], things),
        "resource_name": pick([f"Report {n}.xlsx" for n in range(20_000)], things),
        "request_id": pa.array(requests),
        "trace_id": pa.array([r.replace("-", "") for r in requests]),
        "span_id": pa.array([f"{b & (2**64 - 1):016x}" for b in bits]),
        "service_name": pick([SERVICES[n % 5] for n in range(len(KINDS))], kinds),
        "http_method": pick(method, kinds),
        "http_route": pick(route, kinds),
        "http_status": pick(status, kinds, pa.int32()),
        "changes": pick([changed if a == "permission_change" else None for a in action], kinds),
        "attributes": pa.array([f'{{"app.shard":{n % 7},"app.region":"eu-{n % 3}"}}' for n in things]),
        "otel_resource": same('{"service.namespace":"docs"}'),
        "redactions": pick(
            [[{"rule": "jwt", "field": "message", "count": 1}] if n % 20 == 0 else [] for n in range(500)],
            users,
            VIEW.field("redactions").type,
        ),
        "flags": same([], VIEW.field("flags").type),
        "policy_version": same("p1"),
        "content_digest": pa.array([f"{b:032x}" for b in bits]),
        "retention": pick(["rag" if a in RAG_ACTIONS else "standard" for a in action], kinds),
        "date": pc.strftime(stamp, format="%Y-%m-%d"),
    }  # fmt: skip
    return pa.table(
        [columns[f.name] if f.name in columns else pa.nulls(count, f.type) for f in VIEW], schema=VIEW
    )


class DiskStore:
    """A SnapshotSource over Parquet files written as the store writes them, plus hot rows.

    It keeps no manifest: what it is told is what it knows. `publish` is the WAL thread's call.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, list[FileRef]] = {}
        self.hot: dict[str, list[pa.Table]] = {}
        self.damaged: tuple[Damage, ...] = ()
        self.snapshots = 0
        self._callbacks: list[Callable[[Published], None]] = []

    def add(self, rows: pa.Table, *, columns: list[str] | None = None) -> list[FileRef]:
        """Write rows as one file a partition; `columns` writes only those, as an older release would."""
        made = []
        pairs = zip(rows["retention"].to_pylist(), rows["date"].to_pylist(), strict=True)
        for retention, date in sorted(set(pairs)):
            mine = pc.and_(pc.equal(rows["retention"], retention), pc.equal(rows["date"], date))
            made.append(self._write(rows.filter(mine), retention, date, columns))
        return made

    def _write(self, rows: pa.Table, retention: str, date: str, columns: list[str] | None) -> FileRef:
        tenant, writer = rows["tenant"][0].as_py(), rows["writer"][0].as_py()
        seq, times = pc.min_max(rows["seq"]).as_py(), pc.min_max(rows["time"]).as_py()
        known = self.files.setdefault(tenant, [])
        folder = self.root / f"tenant={tenant}" / f"retention={retention}" / f"date={date}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{writer}-{seq['min']:012d}-{seq['max']:012d}-{len(known):06d}.parquet"
        ordered = rows.sort_by([("time", "ascending"), ("event_id", "ascending")])
        data = bytes(encode_parquet(ordered)) if columns is None else _narrow_parquet(ordered, columns)
        path.write_bytes(data)
        ref = FileRef(
            path, path.with_suffix(".idx"), retention, date, rows.num_rows, len(data),
            times["min"], times["max"], writer, seq["min"], seq["max"], hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
        known.append(ref)
        return ref

    def add_hot(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self.hot.setdefault(rows["tenant"][0].as_py(), []).append(rows)

    def seal(self, tenant: str) -> None:
        """Write the hot rows of a tenant into files."""
        for rows in self.hot.pop(tenant, []):
            self.add(rows)

    def replace(self, tenant: str, old: FileRef, rows: pa.Table) -> None:
        """Take a file away and write its rows anew, as compaction does."""
        old.path.unlink()
        self.files[tenant].remove(old)
        self.add(rows)

    def publish(self, rows: pa.Table) -> None:
        """Make rows durable and tell the subscribers, in that order."""
        self.add_hot(rows)
        seq = pc.min_max(rows["seq"]).as_py()
        told = Published(rows["tenant"][0].as_py(), rows["writer"][0].as_py(), seq["min"], seq["max"], rows)
        for callback in list(self._callbacks):
            callback(told)

    def subscribe(self, callback: Callable[[Published], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def snapshot(
        self,
        tenant: str,
        *,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        as_of: Mapping[str, int] | None = None,
        text: str | None = None,
    ) -> Snapshot:
        self.snapshots += 1
        known, tables = list(self.files.get(tenant, ())), list(self.hot.get(tenant, ()))
        position: dict[str, int] = {}
        for ref in known:
            position[ref.writer] = max(position.get(ref.writer, 0), ref.seq_max)
        for table in tables:
            for writer, seq in zip(table["writer"].to_pylist(), table["seq"].to_pylist(), strict=True):
                position[writer] = max(position.get(writer, 0), seq)
        files = [
            ref
            for ref in known
            if (time_from is None or ref.time_max >= time_from)
            and (time_to is None or ref.time_min < time_to)
        ]
        files.sort(key=lambda ref: (ref.date, ref.path))
        return Snapshot(tenant, tuple(files), join(tables, as_of), position, self.damaged)


def _narrow_parquet(rows: pa.Table, columns: list[str]) -> bytes:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    narrow = pa.schema([PARQUET.field(name) for name in columns], metadata=PARQUET.metadata)
    pq.write_table(rows.select(columns).cast(narrow), sink, compression="zstd")
    return bytes(sink.getvalue())
