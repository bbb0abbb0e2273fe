"""OTLP protobuf: what a body holds, seen before it is parsed, and the mending of what a parser refuses.

Both walk the wire format by one table of the messages an OTLP logs request is made of. Two bytes of a request
can make a parser allocate a hundred, so records and values are counted first. And one text that is not UTF-8
(a User-Agent header, say) makes a parser refuse the whole batch, which clients then drop: whoever controls
such a text could erase the trail of an attack. So a refused body is mended and parsed again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from .errors import NotOtlp
from .limits import IngestLimits

SMALL_BODY_BYTES: Final = 1 << 20
"""Up to here values are not counted: half a million of them still fit into some 60 MB."""
NESTING_MAX: Final = 26
"""Levels of nested values kept when mending: a map level takes three messages."""
PARSER_DEPTH_MAX: Final = 100
"""Levels of nested messages at which a parser refuses the body anyway."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Message(NamedTuple):
    """Fields of one message type. messages: field number → its type; texts: numbers of string fields."""

    messages: dict[int, str]
    texts: frozenset[int]


_MESSAGES: Final = {
    "request": _Message({1: "resource_logs"}, frozenset()),
    "resource_logs": _Message({1: "resource", 2: "scope_logs"}, frozenset({3})),
    "resource": _Message({1: "key_value"}, frozenset()),
    "scope_logs": _Message({1: "scope", 2: "log_record"}, frozenset({3})),
    "scope": _Message({3: "key_value"}, frozenset({1, 2})),
    "log_record": _Message({5: "value", 6: "key_value"}, frozenset({3, 12})),
    "key_value": _Message({2: "value"}, frozenset({1})),
    "value": _Message({5: "array", 6: "map"}, frozenset({1})),
    "array": _Message({1: "value"}, frozenset()),
    "map": _Message({1: "key_value"}, frozenset()),
}
_DOWN_TO_RECORDS: Final = frozenset({"request", "resource_logs", "scope_logs"})


def parse_protobuf(body: bytes, limits: IngestLimits) -> ExportLogsServiceRequest:
    """The request in `body`. Raises TooLarge, NotOtlp."""
    limits.check_body(len(body))
    _Count(body, limits).walk("request", 0, len(body), 0)
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(body)
        return request
    except DecodeError:
        request.Clear()
    try:
        request.ParseFromString(_mend(memoryview(body), "request", 0))
        return request
    except DecodeError as error:
        raise _not_otlp() from error


class _Count:
    """Records and values of one body. Raises TooLarge for too many, NotOtlp for bytes that are no message."""

    def __init__(self, body: bytes, limits: IngestLimits) -> None:
        self._body, self._limits = memoryview(body), limits
        self._all = len(body) > SMALL_BODY_BYTES
        self._records = self._values = 0

    def walk(self, kind: str, at: int, end: int, depth: int) -> None:
        children = _MESSAGES[kind].messages
        while at < end:
            number, wire_type, start, at = _field(self._body, at, end)
            child = children.get(number)
            if child is None or wire_type != _BYTES:
                continue
            self._values += 1
            self._limits.check_values(self._values)
            if child == "log_record":
                self._records += 1
                self._limits.check_records(self._records)
            if (self._all or child in _DOWN_TO_RECORDS) and depth < PARSER_DEPTH_MAX:
                self.walk(child, start, at, depth + 1)


def _mend(message: memoryview, kind: str, depth: int) -> bytes:
    """The same message with texts that are UTF-8 and values that are not nested beyond NESTING_MAX."""
    shape = _MESSAGES[kind]
    out = bytearray()
    at, end = 0, len(message)
    while at < end:
        begin = at
        number, wire_type, start, at = _field(message, at, end)
        child = shape.messages.get(number)
        if wire_type == _BYTES and child is not None:
            deeper = depth + (child == "value")
            content = b"" if deeper > NESTING_MAX else _mend(message[start:at], child, deeper)
        elif wire_type == _BYTES and number in shape.texts:
            content = bytes(message[start:at]).decode("utf-8", "replace").encode()
        else:
            out += message[begin:at]
            continue
        out += _varint(number << 3 | _BYTES) + _varint(len(content)) + content
    return bytes(out)


def _field(message: memoryview, at: int, end: int) -> tuple[int, int, int, int]:
    """(number, wire type, start of the content, end of the field) of the field at `at`."""
    tag, at = _read_varint(message, at, end)
    wire_type = tag & 7
    start = at
    if wire_type == _BYTES:
        length, start = _read_varint(message, at, end)
        at = start + length
    elif wire_type == _VARINT:
        _, at = _read_varint(message, at, end)
    elif wire_type == _FIXED64:
        at += 8
    elif wire_type == _FIXED32:
        at += 4
    else:
        # Groups were given up before OTLP began.
        raise _not_otlp()
    if at > end:
        raise _not_otlp()
    return tag >> 3, wire_type, start, at


def _read_varint(message: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= end:
            raise _not_otlp()
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _not_otlp()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _not_otlp() -> NotOtlp:
    return NotOtlp("the body is not an OTLP logs request", hint="send an ExportLogsServiceRequest")
