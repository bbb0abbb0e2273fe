"""A user's SELECT over the events of one tenant, for the command line.

Whoever runs the command can read the files anyway, so this guards against slips, not against its user:
one statement, reading only, settings locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from otel_audit.exporter.store.snapshot import Snapshot, SnapshotSource
from otel_audit.instrumentation.errors import AuditError

from .engine import create_view, open_duckdb

_FETCH_ROWS: Final = 1_000


class SqlRefused(AuditError):
    """A statement that cannot be run; the message is the engine's own."""


@dataclass(frozen=True, slots=True)
class SqlResult:
    """columns: names. rows: tuples, fetched as they are asked for."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]
    partial: int


def run_sql(source: SnapshotSource, tenant: str, statement: str, *, memory_limit: str = "2GB") -> SqlResult:
    """Run one SELECT over the view `audit_events`. Raises SqlRefused and what the source raises."""
    snapshot: Snapshot = source.snapshot(tenant)
    database = open_duckdb(memory_limit, threads=2)
    create_view(database, snapshot)
    try:
        database.execute("SET lock_configuration = true")
        statements = database.extract_statements(statement)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SqlRefused("only one SELECT can be run", hint="the view is called audit_events")
        database.execute(statements[0])
    except duckdb.Error as error:
        raise SqlRefused(str(error).splitlines()[0], hint="the view is called audit_events") from error
    columns = [column[0] for column in database.description or []]
    return SqlResult(columns, _rows(database), len(snapshot.damaged))


def _rows(database: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    try:
        while rows := database.fetchmany(_FETCH_ROWS):
            yield from rows
    except duckdb.Error as error:
        raise SqlRefused(str(error).splitlines()[0], hint="the statement failed while it ran") from error
    finally:
        database.close()
