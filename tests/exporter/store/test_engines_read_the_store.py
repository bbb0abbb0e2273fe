"""Every engine reads the same rows with the snippet docs/parquet-layout.md gives for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.schema import COLUMNS, MICROS_UTC, REDACTIONS, TEXT, TEXT_LIST, VIEW
from otel_audit.exporter.store.store import Store
from tests.support import engine_report
from tests.support.rows import batch, row

# Spark needs Java and a download of half a gigabyte.
LONG = os.environ.get("FAULTS") == "long"
ENGINES = [name for name in engine_report.ENGINES if LONG or name != "Spark"]

STRUCTS = "list of struct rule, field, count"
# As the page's table of columns calls them.
NAMED: dict[pa.DataType, str] = {
    TEXT: "text",
    pa.int32(): "int32",
    pa.int64(): "int64",
    MICROS_UTC: "timestamp µs UTC",
    TEXT_LIST: "list of text",
    REDACTIONS: STRUCTS,
}
_ARROW = {
    "string": "text",
    "dictionary<values=string, indices=int32, ordered=0>": "text",
    "int32": "int32",
    "int64": "int64",
    "timestamp[us, tz=UTC]": "timestamp µs UTC",
    "list<element: string>": "list of text",
    "list<element: struct<rule: string, field: string, count: int32>>": STRUCTS,
}
ENGINE_TYPES: dict[str, dict[str, str]] = {
    "pyarrow": _ARROW,
    "pandas": _ARROW,
    "polars": {
        "String": "text",
        "Int32": "int32",
        "Int64": "int64",
        "Datetime(time_unit='us', time_zone='UTC')": "timestamp µs UTC",
        "List(String)": "list of text",
        "List(Struct({'rule': String, 'field': String, 'count': Int32}))": STRUCTS,
    },
    "DuckDB": {
        "VARCHAR": "text",
        "INTEGER": "int32",
        "BIGINT": "int64",
        "TIMESTAMP WITH TIME ZONE": "timestamp µs UTC",
        "VARCHAR[]": "list of text",
        'STRUCT("rule" VARCHAR, field VARCHAR, count INTEGER)[]': STRUCTS,
    },
    "ClickHouse": {
        "Nullable(String)": "text",
        "String": "text",
        "Nullable(Int32)": "int32",
        "Nullable(Int64)": "int64",
        "Nullable(DateTime64(6, 'UTC'))": "timestamp µs UTC",
        "Array(Nullable(String))": "list of text",
        "Array(Tuple(rule Nullable(String), field Nullable(String), count Nullable(Int32)))": STRUCTS,
    },
    "Spark": {
        "string": "text",
        "int": "int32",
        "bigint": "int64",
        "timestamp": "timestamp µs UTC",
        "array<string>": "list of text",
        "array<struct<rule:string,field:string,count:int>>": STRUCTS,
    },
}

# Beside the two that differ in a zero, names an engine may take for a value that is no text.
ROWS_BY_TENANT = {"a1": 5, "a01": 8, "acme": 12, "null": 3, "nan": 2, "true": 1}
DAY = datetime(2026, 11, 23, tzinfo=UTC)


class Known(NamedTuple):
    """A store and every row that is live in it, as `events` of a snippet would give them."""

    folder: Path
    rows: list[dict[str, Any]]


class Reading(NamedTuple):
    engine: str
    types: list[tuple[str, str]]
    rows: list[dict[str, Any]]
    acme: list[dict[str, Any]]


def page() -> str:
    return (Path(__file__).parents[3] / "docs" / "parquet-layout.md").read_text()


def snippets() -> dict[str, str]:
    """The Python under each heading of "Read it", by heading."""
    read_it = page().partition("\n## Read it\n")[2].partition("\n## ")[0]
    parts = re.split(r"^### (.+)\n", read_it, flags=re.MULTILINE)[1:]
    found = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        (found[heading],) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def given_rows(tenant: str, count: int) -> list[dict[str, Any]]:
    """Rows of three days and both classes, with every type of value, empty ones and nulls."""
    json_text = json.dumps({"größe": "a \"quoted\" 'ü' 😀\n", "n": 1.5, "of": tenant}, ensure_ascii=False)
    full = {
        "observed_time": DAY - timedelta(microseconds=1),
        "user_id": "007",
        "user_email": f"ada@{tenant}.example.org",
        "user_roles": ["admin", "größe, ünï"],
        "http_status": 200,
        "changes": json_text,
        "attributes": json_text,
        "redactions": [
            {"rule": "jwt", "field": "message", "count": 2},
            {"rule": "card", "field": "attributes", "count": 1},
        ],
        "flags": ["late"],
        # A double would round it.
        "emitter_seq": 2**53 + 1,
    }
    empty = {"user_email": "", "user_roles": [], "redactions": [], "flags": [], "attributes": "{}"}
    null = {"observed_time": None, "severity_number": None}
    kinds: tuple[dict[str, Any], ...] = (full, empty, null)
    return [
        row(
            time=DAY + timedelta(days=n % 3 - 1, microseconds=123_457 * n),
            retention="rag" if n % 2 else "standard",
            **kinds[n // 2 % 3],
        )
        for n in range(count)
    ]


def put_what_nobody_may_read(root: RegionRoot, tenant: str) -> None:
    """Whole Parquet files in the folders that start with `_`, and half a file that is still being written."""
    live = next(root.tenant(tenant).glob("retention=*/date=*/*.parquet"))
    partition = live.parent.relative_to(root.tenant(tenant))
    for name in ("_retired", "_quarantine", "_index", "_ledger"):
        for folder in (root.tenant(tenant) / name, root.tenant(tenant) / name / partition):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(live, folder / f"old-{live.name}")
    (live.parent / "_5f0c.tmp").write_bytes(live.read_bytes()[:100])


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("engines")
    root = RegionRoot(folder / "audit-data")
    store = Store(root)
    rows = []
    for tenant, count in ROWS_BY_TENANT.items():
        given = given_rows(tenant, count)
        # Twice, so that a day has more than one file.
        for part in (given[: count // 2], given[count // 2 :]):
            if part:
                store.append({tenant: batch(*part)})
                store.seal(tenant)
        rows += [r | {"tenant": tenant, "writer": store.writer_id, "seq": n} for n, r in enumerate(given, 1)]
        put_what_nobody_may_read(root, tenant)
    store.close()
    ordered = [{name: r[name] for name in VIEW.names} for r in rows]
    return Known(folder, json.loads(json.dumps(ordered, default=engine_report.plain)))


@pytest.fixture(scope="module", params=ENGINES)
def reading(request: pytest.FixtureRequest, known: Known) -> Reading:
    engine = request.param
    # A zone that is not UTC: a time read as the reader's local time would be another one.
    environment = os.environ | {"TZ": "America/New_York"}
    # Spark listens; nothing but this machine may reach it.
    environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "localhost"}
    environment |= {"PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell"}
    done = subprocess.run(
        # -P: a module beside the program must not pass for an installed one.
        [sys.executable, "-P", "-W", "error", engine_report.__file__, engine],
        input=snippets()[engine],
        cwd=known.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    types = [(name, kind) for name, kind in found["types"]]
    return Reading(engine, types, found["events"], found["acme"])


def by_number(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: (r["tenant"], r["seq"]))


def without_null_lists(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As ClickHouse gives them, which has no null lists; the page says so."""
    lists = [field.name for field in VIEW if pa.types.is_list(field.type)]
    return [r | {name: r[name] or [] for name in lists} for r in rows]


def test_the_page_has_one_snippet_for_each_engine() -> None:
    assert list(snippets()) == list(engine_report.ENGINES)


def test_the_page_gives_each_column_the_type_it_has() -> None:
    columns = page().partition("\n## Columns\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", columns, re.MULTILINE)
    assert told == [(column.name, NAMED[column.type]) for column in COLUMNS]


def test_an_engine_counts_the_rows_of_each_tenant_apart(reading: Reading) -> None:
    assert Counter(r["tenant"] for r in reading.rows) == ROWS_BY_TENANT


def test_an_engine_sees_the_columns_in_order_with_their_types(reading: Reading) -> None:
    named = ENGINE_TYPES[reading.engine]
    assert [(name, named.get(kind, kind)) for name, kind in reading.types] == [
        (field.name, NAMED[field.type]) for field in VIEW
    ]


def test_an_engine_returns_every_value_as_it_was_recorded(reading: Reading, known: Known) -> None:
    expected = without_null_lists(known.rows) if reading.engine == "ClickHouse" else known.rows
    assert by_number(reading.rows) == by_number(expected)


def test_an_engine_finds_the_one_day_of_one_tenant(reading: Reading, known: Known) -> None:
    expected = [r for r in known.rows if r["tenant"] == "acme" and r["date"] == "2026-11-23"]
    expected.sort(key=lambda r: r["time"])
    assert len(expected) == 4
    assert reading.acme == [{name: r[name] for name in ("time", "action", "user_email")} for r in expected]
