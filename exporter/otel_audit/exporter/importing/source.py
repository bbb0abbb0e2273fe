"""The lines of a file or of standard input, plain, gzip or zstd, one at a time and bounded."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

import zstandard

from otel_audit.instrumentation.errors import AuditError

LINE_BYTES_MAX: Final = 64 << 20
"""A line of a Collector is one request, and a request has at most 64 MiB."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# As the receiver: crafted input grows up to 32,000 times, and a frame may ask for so much memory.
_ZSTD_INPUT_BYTES: Final = 512
_ZSTD_WINDOW_BYTES_MAX: Final = 64 << 20


class SourceDamaged(AuditError):
    """Compressed input that ends too early or is damaged; the lines before it were read."""


@dataclass(frozen=True, slots=True)
class Line:
    """number: from 1. offset: of its first byte in the uncompressed text. data: None when it is too long."""

    number: int
    offset: int
    size: int
    data: bytes | None


class Source:
    """Reads lines; what is compressed is told by its first bytes, whatever the name says."""

    def __init__(self, raw: io.BufferedReader, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._raw = raw
        self._line_bytes_max = line_bytes_max
        self._seekable = raw.seekable()

    @property
    def size(self) -> int | None:
        """Bytes of the whole input; None for a pipe."""
        return os.fstat(self._raw.fileno()).st_size if self._seekable else None

    @property
    def position(self) -> int | None:
        """Bytes of the input read so far, compressed as they are; None for a pipe."""
        return self._raw.tell() if self._seekable else None

    def lines(self) -> Iterator[Line]:
        """Every line that is not blank. Raises SourceDamaged."""
        stream = self._opened()
        number = offset = 0
        while True:
            try:
                data, size = self._line(stream)
            except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
                raise SourceDamaged(
                    f"the compressed input is damaged after line {number}",
                    hint="what came before it is stored; repair the file and run the command again",
                ) from error
            if not size:
                return
            number += 1
            if data is None or not data.isspace():
                yield Line(number, offset, size, data)
            offset += size

    def _opened(self) -> BinaryIO:
        first = self._raw.peek(len(_ZSTD))
        if first.startswith(_GZIP):
            return cast(BinaryIO, gzip.GzipFile(fileobj=self._raw))
        if first.startswith(_ZSTD):
            return io.BufferedReader(_Zstd(self._raw))
        return cast(BinaryIO, self._raw)

    def _line(self, stream: BinaryIO) -> tuple[bytes | None, int]:
        """The next line and its size with the line break; (None, size) for one that is too long."""
        data = stream.readline(self._line_bytes_max)
        size = len(data)
        if size < self._line_bytes_max or data.endswith(b"\n"):
            return data, size
        while data and not data.endswith(b"\n"):
            data = stream.readline(self._line_bytes_max)
            size += len(data)
        return None, size


class _Zstd(io.RawIOBase):
    """Frames of zstd, one after the other; unlike the library's own reader it notices a missing end."""

    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        self._frame = self._unpacker.decompressobj()
        self._inside = False
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises EOFError, zstandard.ZstdError."""
        while not self._ready:
            self._packed = self._packed or self._raw.read(_ZSTD_INPUT_BYTES)
            if not self._packed:
                if self._inside:
                    raise EOFError
                return 0
            if self._frame.eof:
                self._frame = self._unpacker.decompressobj()
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data
            self._inside = not self._frame.eof
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
