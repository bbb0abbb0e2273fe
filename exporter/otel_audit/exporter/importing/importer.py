"""Lines → rows in the store: parse, decode, identify, redact as the receiver does, hand over, count.

Every line counts as one request, so a record without an id gets the id it would have got over the wire.
Lines are decoded and redacted in groups, because a batch of one row costs as much as one of a hundred; the
next group is made while the last one becomes durable.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.limits import IngestLimits
from otel_audit.exporter.receiver.rows import RowMaker, replaced, with_ids, with_notes
from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.intake.handed import HANDED, RowTarget, Taken
from otel_audit.exporter.store.schema import RECEIVED
from otel_audit.exporter.store.upkeep.retention import deleted_from
from otel_audit.instrumentation.errors import AuditError

from .bad_line import BadLine
from .event_line import Facts
from .evidence import Evidence
from .kept_aside import KeptAside
from .parsed import Parsed, parse_line
from .source import Line, SourceDamaged

log = logging.getLogger(__name__)

FLAG_IMPORTED: Final = "imported"
# Redaction looks at whole columns, which pays from some hundred rows on.
_GROUP_RECORDS: Final = 2_000
_GROUP_BYTES: Final = 8 << 20
# A server that seals a backlog is back within seconds; after some minutes a person should look.
_TRIES_MAX: Final = 60
# Records without any time, told apart by their number in the file: about 200 MB of memory.
_TIMELESS_MAX: Final = 1_000_000
_NO_ROWS: Final = pa.RecordBatch.from_pylist([], schema=RECEIVED)


@dataclass(slots=True)
class Counts:
    """lines: not blank. events: found in them. rejected: lines without events, and refused events.

    Of events past their retention, held: those a legal hold keeps; expired: those taken for the next run of
    retention to delete.
    """

    lines: int = 0
    events: int = 0
    new: int = 0
    repeats: int = 0
    rejected: int = 0
    held: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that gave records."""

    line: Line
    records: int
    parsed: Parsed


Origin = tuple[Line, int]
"""A record's line, and its number there from 1."""
HeldOf = Callable[[pa.RecordBatch], Collection[int]]
"""Rows of schema ROW → the indexes of those that legal holds keep; of all of them when that is not known."""


@dataclass(frozen=True, slots=True)
class _Made:
    """Rows of schema ROW; for each of them its origin and what an exported event brought beside it."""

    rows: pa.RecordBatch
    origins: list[Origin]
    facts: list[Facts | None]

    def taken(self, kept: list[int]) -> _Made:
        rows = self.rows.take(pa.array(kept, pa.int64()))
        return _Made(rows, [self.origins[i] for i in kept], [self.facts[i] for i in kept])


class Importer:
    """Imports for one organization. Not thread-safe; `close` waits for what is under way."""

    def __init__(
        self,
        tenant: str,
        maker: RowMaker,
        evidence: Evidence,
        target: RowTarget,
        aside: KeptAside,
        *,
        historic: bool = False,
        months: Mapping[str, int] | None = None,
        allow_expired: bool = False,
        held: HeldOf = lambda rows: (),
        now_ns: Callable[[], int] = time.time_ns,
        on_rejected: Callable[[str, int, str], None] = lambda file, line, reason: None,
        limits: IngestLimits | None = None,
    ) -> None:
        """historic: events keep their own date; then months, a class's period, says which are expired (None:
        none is). They are refused, but for those that are held, unless allow_expired.
        on_rejected: told of file, line number and reason.
        """
        self.counts = Counts()
        self._tenant = tenant
        self._maker = maker
        self._evidence = evidence
        self._target = target
        self._aside = aside
        self._historic = historic
        self._months = months
        self._allow_expired = allow_expired
        self._held = held
        self._now_ns = now_ns
        self._on_rejected = on_rejected
        self._limits = limits or IngestLimits()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="otel-audit-import")
        self._pending: Future[Taken] | None = None

    def load(self, file: str, lines: Iterable[Line]) -> None:
        """Import the lines of one file; what is good of them is durable on return.

        file: what to call it. Raises what the target raises, StoreUnavailable only after many tries; what
        was handed over before stays, and the same import again stores the rest. SourceDamaged of `lines` is
        raised again when all before it is durable.
        """
        damaged: SourceDamaged | None = None
        # Numbered within the file, so that reading it again finds the same records.
        timeless: Counter[bytes] = Counter()
        group: list[_Line] = []
        records = size = 0
        try:
            for line in lines:
                self.counts.lines += 1
                try:
                    parsed = self._parsed(line, timeless)
                except BadLine as error:
                    self._reject(file, line, error.message)
                    continue
                if not parsed.records:
                    continue
                group.append(parsed)
                records, size = records + parsed.records, size + line.size
                if records >= _GROUP_RECORDS or size >= _GROUP_BYTES:
                    self._hand_over(file, group, timeless)
                    group, records, size = [], 0, 0
        except SourceDamaged as error:
            damaged = error
        self._hand_over(file, group, timeless)
        self._settle()
        if damaged is not None:
            raise damaged

    def close(self) -> None:
        """Wait for what was handed over; its outcome no longer counts."""
        self._pool.shutdown()

    def _parsed(self, line: Line, timeless: Counter[bytes]) -> _Line:
        if line.data is None:
            raise BadLine(f"longer than {self._limits.body_bytes_max} bytes")
        if len(timeless) > _TIMELESS_MAX:
            raise BadLine(f"after {_TIMELESS_MAX} different records without a time in one file")
        parsed = parse_line(line.data, self._limits)
        sources = parsed.request.resource_logs
        return _Line(line, sum(len(s.log_records) for each in sources for s in each.scope_logs), parsed)

    def _hand_over(self, file: str, group: list[_Line], timeless: Counter[bytes]) -> None:
        group, batch = self._decoded(file, group)
        self.counts.events += batch.num_rows
        origins = [(each.line, number + 1) for each in group for number in range(each.records)]
        batch = with_ids(batch, [line.number for line, _ in origins], timeless)
        facts = [each.parsed.facts for each in group for _ in range(each.records)]
        for made in self._made(file, batch, origins, facts):
            kept = made
            if self._historic and self._months is not None:
                kept = self._past_retention(file, made, self._months)
            if kept.rows.num_rows:
                digests = pa.array([each.digest if each else None for each in kept.facts], pa.string())
                handed = pa.RecordBatch.from_arrays([*kept.rows.columns, digests], schema=HANDED)
                self._settle()
                self._pending = self._pool.submit(self._take, handed)

    def _decoded(self, file: str, group: list[_Line]) -> tuple[list[_Line], pa.RecordBatch]:
        """The lines that could be decoded and their rows; the others are rejected."""
        merged = ExportLogsServiceRequest()
        for each in group:
            merged.resource_logs.extend(each.parsed.request.resource_logs)
        try:
            batch = decode(merged, self._now_ns(), historic=self._historic)
            self._limits.check_rows(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one line
            if len(group) == 1:
                self._reject(file, group[0].line, _reason(error, "decoded"))
                return [], _NO_ROWS
        else:
            return group, batch
        parts = [self._decoded(file, [each]) for each in group]
        return [each for lines, _ in parts for each in lines], pa.concat_batches([rows for _, rows in parts])

    def _made(
        self, file: str, batch: pa.RecordBatch, origins: list[Origin], facts: list[Facts | None]
    ) -> list[_Made]:
        """The rows of schema ROW; a line that redaction fails on is rejected, its neighbours go on."""
        if not batch.num_rows:
            return []
        try:
            return [_Made(self._redacted(batch, facts), origins, facts)]
        except AuditError:
            raise  # the keys, say: that concerns every line
        except Exception as error:  # noqa: BLE001
            if origins[0][0] is origins[-1][0]:
                self._reject(file, origins[0][0], _reason(error, "redacted"))
                return []
        starts = [index for index, (_, number) in enumerate(origins) if number == 1]
        ends = [*starts[1:], len(origins)]
        return [
            made
            for a, b in zip(starts, ends, strict=True)
            for made in self._made(file, batch.slice(a, b - a), origins[a:b], facts[a:b])
        ]

    def _redacted(self, batch: pa.RecordBatch, facts: list[Facts | None]) -> pa.RecordBatch:
        if any(each is not None and each.flags for each in facts):
            flags = [
                list(dict.fromkeys([*own, *(each.flags if each else ())]))
                for own, each in zip(batch.column("flags").to_pylist(), facts, strict=True)
            ]
            batch = replaced(batch, "flags", flags)
        claims = batch.column("claimed_tenant").to_pylist()
        batch = with_notes(
            batch, [(FLAG_IMPORTED, None if claim == self._tenant else claim) for claim in claims]
        )
        return self._evidence.added(self._maker.rows(self._tenant, batch), facts)

    def _past_retention(self, file: str, made: _Made, months: Mapping[str, int]) -> _Made:
        """What is to be stored: all but expired rows that no hold keeps."""
        today = datetime.fromtimestamp(self._now_ns() // 1_000_000_000, UTC).date()
        rows, reasons = made.rows, dict[int, str]()
        partitions = zip(rows.column("retention").to_pylist(), rows.column("date").to_pylist(), strict=True)
        for index, (retention, day) in enumerate(partitions):
            limit = deleted_from(date.fromisoformat(day), months[retention])
            if today >= limit:
                reasons[index] = f"expired: {retention} of {day} was to go on {limit}"
        if not reasons:
            return made
        due = list(reasons)
        # What retention would keep is not refused either.
        for position in self._held(rows.take(pa.array(due, pa.int64()))):
            self.counts.held += 1
            del reasons[due[position]]
        if self._allow_expired:
            self.counts.expired += len(reasons)
            return made
        for index, reason in reasons.items():
            line, number = made.origins[index]
            self._aside.event(file, line, number, reason, rows.slice(index, 1).to_pylist()[0])
            self.counts.rejected += 1
            self._on_rejected(file, line.number, reason)
        return made.taken([index for index in range(rows.num_rows) if index not in reasons])

    def _reject(self, file: str, line: Line, reason: str) -> None:
        self._aside.line(file, line, reason)
        self.counts.rejected += 1
        self._on_rejected(file, line.number, reason)

    def _take(self, rows: pa.RecordBatch) -> Taken:
        for left in reversed(range(_TRIES_MAX)):
            try:
                return self._target.take(self._tenant, rows)
            except StoreUnavailable as error:
                if not left:
                    raise
                time.sleep(error.retry_after_s)
        raise AssertionError("unreachable")

    def _settle(self) -> None:
        """Wait until the last group is durable and count it."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            taken = pending.result()
            self.counts.new += taken.new
            self.counts.repeats += taken.repeats


def _reason(error: Exception, verb: str) -> str:
    """Why a line is rejected: a limit's own words, of anything else only that it happened."""
    if isinstance(error, AuditError):
        return error.message
    log.error("a line could not be %s: %s", verb, type(error).__name__)
    return f"it could not be {verb}"
