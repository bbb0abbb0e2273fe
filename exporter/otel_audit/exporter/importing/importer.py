"""Lines → rows in the store: parse, decode, identify, redact as the receiver does, hand over, count.

Every line is one request, so a record without an id gets the id it would have got over the wire; lines are
redacted and handed over in groups, and the next group is made while the last one becomes durable.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import pyarrow as pa

from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.errors import TooLarge
from otel_audit.exporter.receiver.limits import IngestLimits
from otel_audit.exporter.receiver.rows import RowMaker, replaced, with_ids, with_notes
from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.intake import HANDED, RowTarget, Taken
from otel_audit.exporter.store.retention import deleted_from
from otel_audit.instrumentation.errors import AuditError

from .bad_line import BadLine
from .event_line import Facts
from .evidence import Evidence
from .kept_aside import KeptAside
from .parsed import parse_line
from .source import Line

log = logging.getLogger(__name__)

FLAG_IMPORTED: Final = "imported"
# Redaction looks at whole columns, which pays from some hundred rows on.
_GROUP_ROWS: Final = 2_000
_GROUP_BYTES: Final = 8 << 20
# A server that seals a backlog is back within seconds; after some minutes a person should look.
_TRIES_MAX: Final = 60
# Records without any time, told apart by their number in the file: about 200 MB of memory.
_TIMELESS_MAX: Final = 1_000_000


@dataclass(slots=True)
class Counts:
    """lines: not blank. events: found in them. rejected: lines without events, and refused events."""

    lines: int = 0
    events: int = 0
    new: int = 0
    repeats: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """The records of one line, schema RECEIVED, each with an id."""

    line: Line
    batch: pa.RecordBatch
    facts: Facts | None


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
        now_ns: Callable[[], int] = time.time_ns,
        on_rejected: Callable[[str, int, str], None] = lambda file, line, reason: None,
        limits: IngestLimits | None = None,
    ) -> None:
        """historic: events keep their own date. months: a class's period, expired events are refused by it;
        None stores them all. on_rejected: told of file, line number and reason.
        """
        self.counts = Counts()
        self._tenant = tenant
        self._maker = maker
        self._evidence = evidence
        self._target = target
        self._aside = aside
        self._historic = historic
        self._months = months
        self._now_ns = now_ns
        self._on_rejected = on_rejected
        self._limits = limits or IngestLimits()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="otel-audit-import")
        self._pending: Future[Taken] | None = None

    def load(self, file: str, lines: Iterable[Line]) -> None:
        """Import the lines of one file; what is good of them is durable on return.

        file: what to call it. Raises what the target raises, StoreUnavailable only after many tries; what
        was handed over before stays, and the same import again stores the rest.
        """
        # Numbered within the file, so that reading it again finds the same records.
        timeless: Counter[bytes] = Counter()
        group: list[_Found] = []
        rows = size = 0
        for line in lines:
            self.counts.lines += 1
            try:
                found = self._read(line, timeless)
            except (BadLine, TooLarge) as error:
                self._reject(file, line, error.message)
                continue
            if not found.batch.num_rows:
                continue
            self.counts.events += found.batch.num_rows
            group.append(found)
            rows, size = rows + found.batch.num_rows, size + found.batch.nbytes
            if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                self._hand_over(file, group)
                group, rows, size = [], 0, 0
        self._hand_over(file, group)
        self._settle()

    def close(self) -> None:
        """Wait for what was handed over; its outcome no longer counts."""
        self._pool.shutdown()

    def _read(self, line: Line, timeless: Counter[bytes]) -> _Found:
        if line.data is None:
            raise BadLine(f"longer than {self._limits.body_bytes_max} bytes")
        parsed = parse_line(line.data, self._limits)
        batch = decode(parsed.request, self._now_ns(), historic=self._historic)
        self._limits.check_rows(batch)
        if len(timeless) > _TIMELESS_MAX:
            raise BadLine(f"after {_TIMELESS_MAX} different records without a time in one file")
        return _Found(line, with_ids(batch, timeless), parsed.facts)

    def _hand_over(self, file: str, group: list[_Found]) -> None:
        if not group:
            return
        try:
            rows, facts = self._made(group)
        except AuditError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one line
            # Redaction refuses a whole batch: find the line and keep its neighbours.
            if len(group) > 1:
                for found in group:
                    self._hand_over(file, [found])
                return
            log.error("line %d could not be redacted: %s", group[0].line.number, type(error).__name__)
            self.counts.events -= group[0].batch.num_rows
            self._reject(file, group[0].line, "it could not be redacted")
            return
        if self._historic and self._months is not None:
            rows, facts = self._without_expired(file, group, rows, facts, self._months)
        if rows.num_rows:
            digests = pa.array([each.digest if each else None for each in facts], pa.string())
            handed = pa.RecordBatch.from_arrays([*rows.columns, digests], schema=HANDED)
            self._settle()
            self._pending = self._pool.submit(self._take, handed)

    def _made(self, group: list[_Found]) -> tuple[pa.RecordBatch, list[Facts | None]]:
        """The group's rows, redacted, and what each exported event brought beside its record."""
        batch = pa.concat_batches([found.batch for found in group])
        facts = [found.facts for found in group for _ in range(found.batch.num_rows)]
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
        return self._evidence.added(self._maker.rows(self._tenant, batch), facts), facts

    def _without_expired(
        self,
        file: str,
        group: list[_Found],
        rows: pa.RecordBatch,
        facts: list[Facts | None],
        months: Mapping[str, int],
    ) -> tuple[pa.RecordBatch, list[Facts | None]]:
        today = datetime.fromtimestamp(self._now_ns() // 1_000_000_000, UTC).date()
        origins = [(found.line, record + 1) for found in group for record in range(found.batch.num_rows)]
        kept: list[int] = []
        partitions = zip(rows.column("retention").to_pylist(), rows.column("date").to_pylist(), strict=True)
        for index, (retention, day) in enumerate(partitions):
            limit = deleted_from(date.fromisoformat(day), months[retention])
            if today < limit:
                kept.append(index)
                continue
            line, record = origins[index]
            reason = f"expired: {retention} of {day} was to go on {limit}"
            self._aside.event(file, line, record, reason, rows.slice(index, 1).to_pylist()[0])
            self.counts.rejected += 1
            self._on_rejected(file, line.number, reason)
        if len(kept) == rows.num_rows:
            return rows, facts
        return rows.take(pa.array(kept, pa.int64())), [facts[index] for index in kept]

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
