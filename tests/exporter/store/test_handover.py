"""Rows from another process: checked, stored once, and acknowledged only when they are durable."""

from __future__ import annotations

import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.intake.handed import EXPORTED_DIGEST, HANDED, Intake, RowsRefused, Taken
from otel_audit.exporter.store.intake.handover import BODY_BYTES_MAX, Handover, HandoverClient, HandoverLost
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from otel_audit.instrumentation.ids import uuid7
from tests.support.rows import row


class Room:
    """A store with its handover, and one client."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(RegionRoot(folder))
        self.full = False
        self.handover = Handover(Intake(self), lambda tenant: tenant == "acme", folder / "run")
        self.client = HandoverClient(str(self.handover.path))

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]:
        return self.store.stored(tenant, event_ids)

    def append(self, rows: Mapping[str, pa.RecordBatch]) -> None:
        if self.full:
            raise StoreUnavailable("the disk is full", hint="make room", retry_after_s=7)
        self.store.append(rows)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "data")
    yield made
    made.client.close()
    made.handover.stop()
    made.store.close()


def handed(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{EXPORTED_DIGEST: None, **each} for each in rows], schema=HANDED)


def test_rows_are_stored_once_whether_repeated_in_a_message_later_or_after_sealing(room: Room) -> None:
    first, second, third = row(), row(), row()
    assert room.client.take("acme", handed(first, second, first)) == Taken(2, 1)
    assert room.client.take("acme", handed(second, third)) == Taken(1, 1)
    room.store.seal()
    assert room.client.take("acme", handed(first, second, third)) == Taken(0, 3)


def test_an_event_is_known_by_the_digest_it_had_when_it_was_exported(room: Room) -> None:
    stored = row()
    room.client.take("acme", handed(stored))
    again = {**stored, "content_digest": "f" * 32}
    assert room.client.take("acme", handed({**again, EXPORTED_DIGEST: stored["content_digest"]})).new == 0
    assert room.client.take("acme", handed({**again, EXPORTED_DIGEST: "e" * 32})).new == 1
    flags = [event["flags"] for event in room.store.snapshot("acme").hot.to_pylist()]
    assert flags == [None, ["id_conflict"]]


def test_a_batch_above_a_messages_size_arrives_whole(room: Room) -> None:
    rows = [row(message="x" * 500_000) for _ in range(80)]
    assert room.client.take("acme", handed(*rows)) == Taken(80, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": None},
        {"time": None},
        {"content_digest": "short"},
        {"content_digest": None},
        {"retention": "forever"},
        {"date": "2026-13-01"},
        {"date": "../../etc"},
        {"date": None},
    ],
)
def test_a_row_that_would_spoil_a_file_is_refused_and_its_neighbours_with_it(
    room: Room, wrong: dict[str, Any]
) -> None:
    with pytest.raises(RowsRefused):
        room.client.take("acme", handed(row(), row() | wrong))
    assert room.store.hot_rows == 0
    assert room.client.take("acme", handed(row())).new == 1, "the connection goes on"


@pytest.mark.parametrize("tenant", ["nobody", "../acme", ""])
def test_an_organization_that_is_not_there_is_refused(room: Room, tenant: str) -> None:
    with pytest.raises(RowsRefused):
        room.client.take(tenant, handed(row()))


def test_a_full_store_is_told_with_the_time_to_wait(room: Room) -> None:
    room.full = True
    with pytest.raises(StoreUnavailable) as error:
        room.client.take("acme", handed(row()))
    assert (error.value.message, error.value.retry_after_s) == ("the disk is full", 7)


def test_a_server_that_is_gone_is_told_with_what_to_do(room: Room) -> None:
    room.client.take("acme", handed(row()))
    room.client._socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(HandoverLost) as error:
        room.client.take("acme", handed(row()))
    assert "again" in error.value.hint


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">II", 4, BODY_BYTES_MAX + 1) + b"acme",
        struct.pack(">II", 64, 1),
        struct.pack(">II", 4, 9) + b"acme" + b"not Arrow",
    ],
    ids=["too large", "too long a name", "no Arrow"],
)
def test_bytes_that_are_no_rows_get_an_answer_and_nothing_is_stored(room: Room, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(room.handover.path))
        raw.sendall(sent)
        assert b'"retry_after_s": null' in raw.recv(4096)
    assert room.store.hot_rows == 0


def test_rows_of_other_columns_are_refused(room: Room) -> None:
    other = pa.schema([*list(HANDED)[:-1], pa.field("surprise", pa.string())])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, other) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([row()], schema=other))
    body = sink.getvalue().to_pybytes()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(room.handover.path))
        raw.sendall(struct.pack(">II", 4, len(body)) + b"acme" + body)
        assert b"other columns" in raw.recv(4096)


def test_a_ninth_sender_is_told_to_come_back(room: Room) -> None:
    room.client.take("acme", handed(row()))
    others = [HandoverClient(str(room.handover.path)) for _ in range(7)]
    for other in others:
        other.take("acme", handed(row()))
    ninth = HandoverClient(str(room.handover.path))
    with pytest.raises((StoreUnavailable, HandoverLost)):
        ninth.take("acme", handed(row()))
    for client in (*others, ninth):
        client.close()


def test_only_the_same_user_reaches_the_socket(room: Room) -> None:
    assert stat.S_IMODE(room.handover.path.stat().st_mode) == 0o600


def test_a_hole_in_a_conversation_ends_it_and_not_the_server(room: Room) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(room.handover.path))
        raw.sendall(struct.pack(">II", 4, 1000) + b"acm")
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    assert room.client.take("acme", handed(row(event_id=uuid7(), time=moment))).new == 1
