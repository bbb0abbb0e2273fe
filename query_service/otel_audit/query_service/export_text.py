"""SQL that makes one text of an event's columns: a CSV record or a line of JSON.

DuckDB writes the text, so that no row becomes Python objects. A record is made before the rows are sorted:
then only the keys and one text have to be moved. `concat` takes all parts at once; a chain of `||` would
copy the growing text at every step.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from otel_audit.exporter.store.schema import COLUMNS, JSON_COLUMNS, VIEW

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
# What a spreadsheet takes for a formula, full-width forms included, or trims before it looks.
FORMULA_STARTS: Final = "=+-@\t\r\n＝＋－＠"
# A quote after a comma and before another character than a quote opens a cell: within a cell they come in
# pairs. So one look at the whole record finds the cells to guard, at a tenth of the price of one a cell.
_GUARD: Final = "',\"([=+@\\t\\r\\n＝＋－＠-])'"

CSV_HEADER: Final = ",".join(column.name for column in COLUMNS).encode() + b"\r\n"


def _time(name: str) -> str:
    return f"strftime({name} AT TIME ZONE 'UTC', '{_TIME_FORMAT}')"


def _csv_cell(name: str, kind: pa.DataType) -> str:
    """SQL arguments of `concat` for one cell. Text is always quoted, so an empty text is no null."""
    if pa.types.is_integer(kind):
        return name
    if pa.types.is_timestamp(kind):
        return _time(name)
    if pa.types.is_list(kind):
        return _quoted(f"to_json({name})::VARCHAR")
    return _quoted(name)


def _quoted(text: str) -> str:
    # A null stays null in `||`, and `concat` writes nothing for it.
    return f"'\"' || replace({text}, '\"', '\"\"') || '\"'"


def _json_value(name: str, kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return f"coalesce({name}::VARCHAR, 'null')"
    if pa.types.is_timestamp(kind):
        return f"CASE WHEN {name} IS NULL THEN 'null' ELSE concat('\"', {_time(name)}, '\"') END"
    text = f"to_json({name})::VARCHAR"
    if name in JSON_COLUMNS:
        # The stored text goes out as it is: reading it would round numbers that JSON may hold and DuckDB not.
        # A line break in it would end the line.
        whole = f"json_valid({name}) AND NOT regexp_matches({name}, '[\\r\\n]')"
        compact = f"WHEN json_valid({name}) THEN json({name})::VARCHAR"
        text = f"CASE WHEN {whole} THEN {name} {compact} ELSE {text} END"
    return f"coalesce({text}, 'null')"


_CELLS: Final = ", ',', ".join(_csv_cell(column.name, column.type) for column in COLUMNS)
_GUARDED: Final = f"substr(regexp_replace(concat(',', {_CELLS}), {_GUARD}, ',\"''\\1', 'g'), 2)"
CSV_RECORD: Final = f"concat({_GUARDED}, chr(13), chr(10))"

_MEMBERS: Final = ", ',', ".join(f"'\"{each.name}\":', {_json_value(each.name, each.type)}" for each in VIEW)
JSON_LINE: Final = f"concat('{{', {_MEMBERS}, '}}', chr(10))"
