"""Which rows of a partition that is due the holds keep: what retention asks before it deletes.

When that cannot be known, everything of the organization stays, and `problems` says why.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import pyarrow as pa

from otel_audit.exporter.store.files.verified import VerifiedFiles
from otel_audit.exporter.store.intake.frame import Frame
from otel_audit.exporter.store.schema import VIEW
from otel_audit.exporter.store.snapshot import FileRef
from otel_audit.exporter.store.upkeep.held import NUMBERS, Held
from otel_audit.instrumentation.errors import AuditError

from .control.database import ControlUnavailable
from .control.holds import Hold, Holds
from .engine import Engine
from .hold_scope import HoldScope

_log = logging.getLogger(__name__)

# Nobody waits for the answer, and cutting it off only makes retention keep more than it must.
_DEADLINE_S: Final = 600.0
# For the rows of one request.
_ARRIVALS_MEMORY: Final = "256MB"
# About 10 MB of digests. More partitions than this are simply judged anew.
_WHOLE_MAX: Final = 100_000


class _Unknown(Exception):
    """Why the holds cannot be judged."""


class HeldRows:
    """Judges the partitions of one retention run (a `HeldOf`), partition by partition, on one thread.

    engine: made when a hold first needs the rows themselves, and closed by `close`.
    whole: remembers partitions that are held wholly, from run to run: files never change and holds neither,
    and such a partition would else be read again every hour for as long as it is held.
    tokens_of: (organization, value) → the tokens the value may be stored as.
    problems: organization → why nothing of it may go in this run.
    """

    def __init__(
        self,
        holds: Holds,
        engine: Callable[[], Engine],
        *,
        whole: set[bytes] | None = None,
        tokens_of: Callable[[str, str], Sequence[str]] = lambda tenant, value: (),
    ) -> None:
        self._holds, self._tokens_of = holds, tokens_of
        self._whole = whole if whole is not None else set()
        self._open_engine = engine
        self._engine: Engine | None = None
        self._verified = VerifiedFiles()
        self.problems: dict[str, str] = {}

    def __call__(self, tenant: str, files: Sequence[FileRef], now: datetime) -> Held:
        """What of the files must stay at `now` (aware). Never raises: what is not known stays."""
        if tenant in self.problems:
            return Held(everything=True, problem=self.problems[tenant])
        try:
            return self._judge(tenant, files, now)
        except ControlUnavailable as error:
            # Its own words name a path of the server, which is no organization's to know.
            _log.error("the holds of %s cannot be read: %s", tenant, error.message)
            reason = "the holds cannot be read"
        except AuditError as error:
            reason = error.message
        except _Unknown as unknown:
            reason = str(unknown)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not become "nothing is held"
            _log.exception("the holds of %s cannot be judged", tenant)
            reason = f"the holds cannot be judged ({type(error).__name__})"
        self.problems[tenant] = reason
        return Held(everything=True, problem=reason)

    def close(self) -> None:
        """End the engine if one was needed."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _judge(self, tenant: str, files: Sequence[FileRef], now: datetime) -> Held:
        holds = self._holds.active(tenant, now)
        known = {hold.name for hold in holds}

        def is_current() -> bool:
            try:
                return {hold.name for hold in self._holds.active(tenant, now)} <= known
            except Exception:  # noqa: BLE001 - not knowing is no permission to delete
                return False

        judged = _digest(tenant, holds, files)
        if judged in self._whole:
            return Held(everything=True, names=tuple(sorted(known)), is_current=is_current)
        scopes = [(hold, _scope(hold).with_tokens(partial(self._tokens_of, tenant))) for hold in holds]
        for hold, scope in scopes:
            if all(scope.covers(ref) for ref in files):
                return Held(everything=True, names=(hold.name,), is_current=is_current)
        names: list[str] = []
        kept: list[pa.Table] = []
        for hold, scope in scopes:
            rows = self._rows(hold, [ref for ref in files if scope.overlaps(ref)], *scope.where())
            if rows.num_rows:
                names.append(hold.name)
                kept.append(rows)
        if not kept:
            return Held(is_current=is_current)
        # Several holds may keep the same row.
        rows = pa.concat_tables(kept).group_by(NUMBERS.names).aggregate([])
        if rows.num_rows == sum(ref.rows for ref in files):
            if len(self._whole) >= _WHOLE_MAX:
                self._whole.clear()
            self._whole.add(judged)
            return Held(everything=True, names=tuple(names), is_current=is_current)
        ordered = rows.sort_by([("writer", "ascending"), ("seq", "ascending")]).cast(NUMBERS)
        return Held(rows=ordered, names=tuple(names), is_current=is_current)

    def _rows(self, hold: Hold, files: Sequence[FileRef], condition: str, params: dict[str, Any]) -> pa.Table:
        if not files:
            return NUMBERS.empty_table()
        for ref in files:
            self._check(hold, ref)
        if self._engine is None:
            self._engine = self._open_engine()
        with self._engine.scan(files, VIEW.empty_table(), deadline_s=_DEADLINE_S) as scan:
            found = scan.table("SELECT writer, seq FROM", scan.source, "WHERE", condition, params=params)
        return found.select(NUMBERS.names).cast(NUMBERS)

    def _check(self, hold: Hold, ref: FileRef) -> None:
        # DuckDB reads damaged bytes without an error, and rows that it misses would be deleted.
        try:
            damage = self._verified.check(ref)
        except OSError as error:
            raise _Unknown(f"hold {hold.name} needs {ref.path.name}, which cannot be read") from error
        if damage is not None:
            raise _Unknown(f"hold {hold.name} needs {damage.file}: {damage.reason}")


class HeldArrivals:
    """Which rows of an import the organization's holds keep (an importer's `HeldOf`). Not thread-safe.

    When that cannot be known all are kept, as retention does.
    """

    def __init__(self, holds: Holds, tenant: str, now: Callable[[], float] = time.time) -> None:
        self._holds, self._tenant, self._now = holds, tenant, now
        self._engine: Engine | None = None

    def __call__(self, rows: pa.RecordBatch) -> Collection[int]:
        """Indexes of the held ones among rows of schema ROW. Never raises."""
        try:
            return self._judge(rows)
        except (AuditError, _Unknown) as error:
            _log.error(
                "expired events of %s are stored, as its holds cannot be judged: %s", self._tenant, error
            )
            return range(rows.num_rows)

    def close(self) -> None:
        """End the engine if one was needed."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _judge(self, rows: pa.RecordBatch) -> Collection[int]:
        # Asked anew each time, so that a hold which comes during a long import counts.
        scopes = [_scope(hold) for hold in self._holds.active(self._tenant, self._now())]
        if not scopes:
            return ()
        if self._engine is None:
            self._engine = Engine(memory_limit=_ARRIVALS_MEMORY, threads=1)
        # As they will be stored; the numbers are these rows' own.
        table = Frame(self._tenant, "", 0, rows).view()
        found: set[int] = set()
        with self._engine.scan((), table, deadline_s=_DEADLINE_S) as scan:
            for scope in scopes:
                if len(found) < rows.num_rows:
                    condition, params = scope.where()
                    held = scan.table("SELECT seq FROM", scan.source, "WHERE", condition, params=params)
                    found.update(held["seq"].to_pylist())
        return found


def _digest(tenant: str, holds: Sequence[Hold], files: Sequence[FileRef]) -> bytes:
    """Of what a judgement rests on: these holds, these bytes."""
    parts = [tenant, *sorted(hold.name for hold in holds), "", *sorted(ref.sha256 for ref in files)]
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _scope(hold: Hold) -> HoldScope:
    try:
        return hold.scope
    except (AuditError, ValueError, TypeError) as error:
        raise _Unknown(
            f"the filters of hold {hold.name} cannot be read; a newer release may have written them"
        ) from error
