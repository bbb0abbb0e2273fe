"""Lines of plain and compressed input."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
import zstandard

from otel_audit.exporter.importing.source import Line, Source, SourceDamaged

TEXT = b'{"a": 1}\n\n  \n{"b": 2}\r\n{"c": 3}'


def lines(data: bytes, line_bytes_max: int = 1 << 20) -> list[Line]:
    return list(Source(io.BufferedReader(io.BytesIO(data)), line_bytes_max=line_bytes_max).lines())


@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        gzip.compress(TEXT),
        gzip.compress(TEXT[:12]) + gzip.compress(TEXT[12:]),
        zstandard.compress(TEXT),
        zstandard.compress(TEXT[:12]) + zstandard.compress(TEXT[12:]),
    ],
    ids=["plain", "gzip", "gzip members", "zstd", "zstd frames"],
)
def test_lines_are_the_same_however_they_are_compressed_and_blank_ones_only_count(data: bytes) -> None:
    found = lines(data)
    assert [(line.number, line.offset) for line in found] == [(1, 0), (4, 13), (5, 23)]
    assert [line.data for line in found] == [b'{"a": 1}\n', b'{"b": 2}\r\n', b'{"c": 3}']


def test_a_line_that_is_too_long_is_skipped_whole_and_the_next_one_read() -> None:
    found = lines(b"x" * 25 + b"\n" + b"y" * 9 + b"\n" + b"z" * 10, line_bytes_max=10)
    assert [(line.number, line.size, line.data) for line in found] == [
        (1, 26, None),
        (2, 10, b"y" * 9 + b"\n"),
        (3, 10, None),
    ]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_cut_off_compression_is_an_error_with_a_hint_never_a_silent_end(compress: object) -> None:
    whole = compress(b"".join(b'{"n": %d}\n' % n for n in range(5_000)))  # type: ignore[operator]
    with pytest.raises(SourceDamaged) as error:
        lines(whole[: len(whole) // 2])
    assert error.value.hint


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with path.open("rb") as raw:
        source = Source(raw)
        assert (list(source.lines()), source.size, source.position) == ([], 0, 0)
