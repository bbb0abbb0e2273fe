"""A user's SELECT over the events of one tenant, for the command line.

Whoever runs the command can read the files anyway, so this guards against slips, not against its user:
one statement, reading only, this tenant's files and nothing else, settings locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa

from otel_audit.exporter.store.snapshot import Snapshot, SnapshotSource
from otel_audit.instrumentation.errors import AuditError

from .engine import create_view, open_duckdb

_FETCH_ROWS: Final = 1_000
_THREADS: Final = 2


class SqlRefused(AuditError):
    """A statement that cannot be run. The message is the engine's own: its reader wrote the statement."""


@dataclass(frozen=True, slots=True)
class SqlResult:
    """columns: names. rows: tuples, fetched as they are asked for. partial: damaged files left out."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]
    partial: int


def run_sql(source: SnapshotSource, tenant: str, statement: str, *, memory_limit: str = "2GB") -> SqlResult:
    """Run one SELECT over the view `audit_events`. Raises SqlRefused and what the source raises.

    Times come as aware datetimes, lists and structs as lists and dicts.
    """
    snapshot: Snapshot = source.snapshot(tenant)
    database = open_duckdb(memory_limit, _THREADS)
    try:
        create_view(database, snapshot)
        _confine(database, snapshot)
        statements = database.extract_statements(statement)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SqlRefused("only one SELECT can be run", hint="the view is called audit_events")
        # Through Arrow: DuckDB's own times need a time zone library that is not installed.
        relation = database.sql(statement)
        reader = relation.to_arrow_reader(_FETCH_ROWS)
        # Most errors of a statement come with its first rows: then they are told before anything is printed.
        first = next(iter(reader), None)
    except duckdb.Error as error:
        database.close()
        raise _refused(error) from None
    except BaseException:
        database.close()
        raise
    return SqlResult(list(relation.columns), _rows(database, reader, first), len(snapshot.damaged))


def _confine(database: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Leave the snapshot's files readable, nothing else, and nobody to change that."""
    # A setting takes no parameters. The paths are the store's own, and quoted all the same.
    paths = ", ".join("'" + str(ref.path).replace("'", "''") + "'" for ref in snapshot.files)
    database.execute(f"SET allowed_paths = [{paths}]")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")


def _rows(
    database: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader, batch: pa.RecordBatch | None
) -> Iterator[tuple[Any, ...]]:
    try:
        while batch is not None:
            # By position, because a statement may give two columns one name.
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
            batch = next(iter(reader), None)
    except (duckdb.Error, pa.ArrowException) as error:
        raise _refused(error) from None
    finally:
        reader.close()
        database.close()


def _refused(error: Exception) -> SqlRefused:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return SqlRefused(
        message, hint="the view is called audit_events; DESCRIBE audit_events lists its columns"
    )
