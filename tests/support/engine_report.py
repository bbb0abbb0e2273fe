"""Run as a program: what one engine makes of the store, as JSON on standard output.

    python engine_report.py <engine> < snippet      in the folder that has audit-data/

The snippet (docs/parquet-layout.md) leaves `events` and `acme` behind. Types are in the engine's own words;
values go through Arrow, which every engine speaks. Each engine gets a process of its own: chdb and DuckDB
bring native libraries that need not get along, and Spark a Java machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

Types = list[tuple[str, str]]
Report = Callable[[dict[str, Any]], tuple[Types, pa.Table, pa.Table]]


def pyarrow(given: dict[str, Any]) -> tuple[Types, pa.Table, pa.Table]:
    events = given["events"]
    return [(field.name, str(field.type)) for field in events.schema], events.to_table(), given["acme"]


def pandas(given: dict[str, Any]) -> tuple[Types, pa.Table, pa.Table]:
    events, acme = (pa.Table.from_pandas(given[name], preserve_index=False) for name in ("events", "acme"))
    # `pyarrow_dtype` is missing where pandas fell back on a type of its own.
    types = [
        (name, str(getattr(kind, "pyarrow_dtype", kind))) for name, kind in given["events"].dtypes.items()
    ]
    return types, events, acme


def polars(given: dict[str, Any]) -> tuple[Types, pa.Table, pa.Table]:
    events = given["events"].collect()
    return (
        [(name, str(kind)) for name, kind in events.schema.items()],
        events.to_arrow(),
        given["acme"].to_arrow(),
    )


def duckdb(given: dict[str, Any]) -> tuple[Types, pa.Table, pa.Table]:
    events = given["events"]
    types = [(name, str(kind)) for name, kind in zip(events.columns, events.types, strict=True)]
    return types, events.to_arrow_table(), given["acme"].to_arrow_table()


def clickhouse(given: dict[str, Any]) -> tuple[Types, pa.Table, pa.Table]:
    query, events = given["chdb"].query, given["events"]
    described = query(f"DESCRIBE ({events}) SETTINGS print_pretty_type_names = 0", "JSONCompactEachRow")
    types = [(name, kind) for name, kind, *_ in map(json.loads, str(described).splitlines())]
    return types, query(events, "ArrowTable"), given["acme"]


def spark(given: dict[str, Any]) -> tuple[Types, pa.Table, pa.Table]:
    events = given["events"]
    types = [(field.name, field.dataType.simpleString()) for field in events.schema]
    try:
        return types, events.toArrow(), given["acme"].toArrow()
    finally:
        given["spark"].stop()


ENGINES: dict[str, Report] = {
    "pyarrow": pyarrow,
    "pandas": pandas,
    "polars": polars,
    "DuckDB": duckdb,
    "ClickHouse": clickhouse,
    "Spark": spark,
}


def plain(value: Any) -> str:
    """A timestamp as its moment: engines hand it over in whatever zone they please."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else repr(value)


def main() -> None:
    given: dict[str, Any] = {}
    exec(compile(sys.stdin.read(), "snippet", "exec"), given)
    types, events, acme = ENGINES[sys.argv[1]](given)
    report = {"types": types, "events": events.to_pylist(), "acme": acme.to_pylist()}
    json.dump(report, sys.stdout, default=plain)


if __name__ == "__main__":
    main()
