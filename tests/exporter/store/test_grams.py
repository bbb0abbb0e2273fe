"""Which files a free-text search may pass by: never one that holds the text."""

from __future__ import annotations

import sys
import unicodedata
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.exporter.store.files.grams import GramFilter, may_contain
from otel_audit.exporter.store.schema import FREE_TEXT
from tests.support.events import event_rows

START = datetime(2026, 3, 1, tzinfo=UTC)
FILLER = "abcdefghijklmnopqrstuvwxyz0123456789"


def filter_of(rows: pa.Table) -> memoryview:
    made = GramFilter(rows.num_rows)
    made.add(rows)
    return memoryview(made.encode())


def rows_with(text: str, column: str = "message") -> pa.Table:
    """2,000 rows, `text` in one of them."""
    values: dict[str, list[str | None]] = {name: [None] * 2_000 for name in FREE_TEXT}
    values[column] = [*(f"{FILLER[n % 36]} filler" for n in range(1_999)), text]
    return pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60),
    cut=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_a_file_that_holds_a_text_is_never_passed_by(text: str, cut: tuple[int, int]) -> None:
    start, end = sorted(cut)
    bits = filter_of(rows_with(text))
    for part in (text[start:end], text[start:end].upper(), text[start:end].lower()):
        # The search itself says whether it is in there: its idea of lower case is the one that counts.
        [(found,)] = duckdb.execute(
            "SELECT contains(lower($t), lower($p))", {"t": text, "p": part}
        ).fetchall()
        assert may_contain(bits, part) or not found


def test_every_searched_column_is_in_the_filter() -> None:
    for column in FREE_TEXT:
        assert may_contain(filter_of(rows_with("needle in a column", column)), "NEEDLE")


def test_a_text_that_is_nowhere_is_mostly_known_to_be_nowhere() -> None:
    bits = filter_of(event_rows(25_000, start=START, end=START + timedelta(days=1)))
    words = ["no-such-text", "quarterly forecast", "terminated", "mallory", "zebra crossing", "exfiltrate"]
    assert not any(may_contain(bits, word) for word in words)


def test_a_small_file_has_no_filter_and_may_hold_anything() -> None:
    bits = filter_of(event_rows(999, start=START, end=START + timedelta(days=1)))
    assert len(bits) == 0
    assert may_contain(bits, "no-such-text")


def test_lower_case_means_the_same_to_the_filter_and_to_the_search() -> None:
    letters = [chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) not in ("Cs", "Cn")]
    ours = pc.utf8_lower(pa.array(letters)).to_pylist()
    theirs = duckdb.execute("SELECT lower(x) FROM (SELECT unnest($all) AS x)", {"all": letters}).fetchall()
    assert ours == [row[0] for row in theirs]
