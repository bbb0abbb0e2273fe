"""Bodies unpacked piece by piece, so that a small bomb never grows beyond the limit."""

from __future__ import annotations

import zlib
from typing import Final

import zstandard

from .errors import NotOtlp, UnsupportedMedia
from .limits import IngestLimits, Share

_PIECE_BYTES: Final = 1 << 20
_GZIP: Final = 16 + zlib.MAX_WBITS
# What RFC 8878 asks every decoder to support; encoders stay below it unless told otherwise.
_ZSTD_WINDOW_BYTES_MAX: Final = 8 << 20
# Four bytes can stand for a block of 128 KiB, and the output of one call is not bounded otherwise.
_ZSTD_INPUT_BYTES: Final = 512
ENCODINGS: Final = ("identity", "gzip", "zstd")


def encoding_of(header: str | None) -> str:
    """The one encoding a Content-Encoding header names. Raises UnsupportedMedia."""
    encoding = (header or "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise UnsupportedMedia("unknown Content-Encoding", hint=f"use one of {', '.join(ENCODINGS)}")
    return encoding


def unpack(body: bytes, encoding: str, limits: IngestLimits, share: Share) -> bytes:
    """The body without its encoding, at most limits.body_bytes_max bytes, each taken from `share`.

    Raises TooLarge as soon as it would be more, Throttled, NotOtlp for damaged data.
    """
    if encoding == "identity":
        return body
    try:
        return _gunzip(body, limits, share) if encoding == "gzip" else _unzstd(body, limits, share)
    except (zlib.error, zstandard.ZstdError) as error:
        raise _damaged() from error


class _Pieces:
    """What has been unpacked so far."""

    def __init__(self, limits: IngestLimits, share: Share) -> None:
        self._limits, self._share = limits, share
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._limits.check_body(self._size)
        self._share.take(len(piece))
        self._pieces.append(piece)

    def joined(self) -> bytes:
        return b"".join(self._pieces)


def _gunzip(body: bytes, limits: IngestLimits, share: Share) -> bytes:
    pieces = _Pieces(limits, share)
    rest = body
    # A gzip file is one or more members, each at least 18 bytes: the loop ends with the body.
    while rest:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = member.decompress(rest, _PIECE_BYTES)
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise _damaged()
            pieces.add(piece)
        rest = member.unused_data
    return pieces.joined()


def _unzstd(body: bytes, limits: IngestLimits, share: Share) -> bytes:
    pieces = _Pieces(limits, share)
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    frame = unpacker.decompressobj()
    for start in range(0, len(body), _ZSTD_INPUT_BYTES):
        rest = body[start : start + _ZSTD_INPUT_BYTES]
        while rest:
            if frame.eof:
                frame = unpacker.decompressobj()
            pieces.add(frame.decompress(rest))
            rest = frame.unused_data
    if not frame.eof:
        raise _damaged()
    return pieces.joined()


def _damaged() -> NotOtlp:
    return NotOtlp("the body does not match its Content-Encoding", hint="compress it again, whole")
