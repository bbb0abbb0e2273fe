"""What senders and readers meet while a disk is full, broken or slow: refusals that may be tried again."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.headroom import HEADROOM_BYTES
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from otel_audit.instrumentation.ids import uuid7
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.search import search
from tests.support.otlp_client import post, record, request
from tests.support.receiver import Receiver, running
from tests.support.server import QueryServer
from tests.support.store_operations import (
    NOW,
    TENANT,
    append,
    check_folder,
    event_id,
    found_ids,
    open_store,
)
from tests.support.wal_files import FaultyFiles

HEALING = [errno.ENOSPC, errno.EMFILE, errno.EROFS]
WRITING = frozenset({"pwrite", "allocate", "open", "make_folder", "link", "unlink", "truncate", "rename"})


def sound() -> FaultyFiles:
    return FaultyFiles(1, errno.EIO, only=frozenset())


def ask_grpc(address: str, key: str, *ids: str) -> grpc.StatusCode:
    with grpc.insecure_channel(address) as channel:
        try:
            export = LogsServiceStub(channel).Export  # type: ignore[no-untyped-call]
            export(
                request([record(record_id=each, time_ns=1_795_000_000 * 10**9) for each in ids]),
                metadata=[("authorization", f"Bearer {key}")],
                timeout=30,
            )
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def ask_http(address: str, key: str, *ids: str) -> int:
    records = [record(record_id=each, time_ns=1_795_000_000 * 10**9) for each in ids]
    status, _ = post(address, key, request(records).SerializeToString())
    return status


@pytest.mark.parametrize("code", HEALING, ids=errno.errorcode.__getitem__)
def test_without_room_senders_are_told_to_try_again_and_it_heals_by_itself(tmp_path: Path, code: int) -> None:
    fs = sound()
    with running(Receiver(tmp_path / "data", fs=fs)) as receiver:
        key = receiver.key("acme")
        first, refused = uuid7(), uuid7()
        assert ask_http(receiver.http, key, first) == 200
        fs.break_now(code, WRITING)
        assert ask_http(receiver.http, key, refused) == 503
        assert ask_grpc(receiver.grpc, key, refused) == grpc.StatusCode.UNAVAILABLE
        assert [each["event_id"] for each in receiver.rows()] == [first]
        assert receiver.store.inner.failure is None
        fs.heal()
        assert ask_http(receiver.http, key, refused) == 200
        assert [each["event_id"] for each in receiver.rows()] == [first, refused]


class SmallDisk(FaultyFiles):
    """A disk with so much left as a test says."""

    free = 2 * HEADROOM_BYTES

    def free_bytes(self, descriptor: int) -> int:
        return self.free


def test_the_last_room_of_the_disk_is_for_our_own_events_so_searches_still_answer(tmp_path: Path) -> None:
    fs = SmallDisk(1, errno.ENOSPC, only=frozenset())
    server = QueryServer(tmp_path / "data", fs=fs).start()
    try:
        server.core.tenants.add("acme")
        server.ingest("acme", 3)
        fs.free = HEADROOM_BYTES - 1
        with pytest.raises(StoreUnavailable, match="disk is full"):
            server.fill("acme", 1, datetime.now(UTC))
        with server.client(server.token("acme")) as client:
            answer = client.get("/api/v1/orgs/acme/events")
            assert answer.status_code == 200
            assert len(answer.json()["events"]) >= 3
            # Not 503: that would take the searches out of service too.
            ready = client.get("/readyz")
            assert ready.status_code == 200
            assert "disk is full" in ready.json()["degraded"][0]
        assert server.trail("acme", ("action", "search"))
        assert server.core.store.seal() > 0
        fs.free = HEADROOM_BYTES
        server.fill("acme", 1, datetime.now(UTC))
    finally:
        server.stop()


def test_after_a_failed_fsync_nothing_is_acknowledged_until_a_restart_and_nothing_was_lost(
    tmp_path: Path,
) -> None:
    fs = sound()
    server = QueryServer(tmp_path / "data", fs=fs).start()
    try:
        server.core.tenants.add("acme")
        ids = server.ingest("acme", 3)
        with server.client() as client:
            assert client.get("/readyz").status_code == 200
            fs.break_now(errno.EIO, frozenset({"sync"}))
            with pytest.raises(StoreUnavailable):
                server.fill("acme", 1, datetime.now(UTC))
            # The disk answers again: too late, what it holds of the failed write nobody knows.
            fs.heal()
            with pytest.raises(StoreUnavailable):
                server.fill("acme", 1, datetime.now(UTC))
            assert client.get("/readyz").status_code == 503
        found = server.trail("acme", ("action", "read"))
        assert {event["event_id"] for event in found} >= set(ids)
    finally:
        server.stop()
    server = QueryServer(tmp_path / "data").start()
    try:
        assert {each["event_id"] for each in server.trail("acme", ("action", "read"))} >= set(ids)
        assert len(server.ingest("acme", 1)) == 1
        with server.client() as client:
            assert client.get("/readyz").status_code == 200
    finally:
        server.stop()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with running(Receiver(tmp_path / "data")) as started:
        yield started


def test_a_delivery_repeated_in_any_way_is_stored_once(receiver: Receiver) -> None:
    key, store = receiver.key("acme"), receiver.store.inner
    again = [uuid7() for _ in range(3)]
    others: list[str] = []

    def repeat() -> None:
        """The same batch, parts of it in other company, twice in one batch; both protocols."""
        assert ask_http(receiver.http, key, *again) == 200
        assert ask_grpc(receiver.grpc, key, *again) == grpc.StatusCode.OK
        others.append(uuid7())
        assert ask_http(receiver.http, key, again[2], others[-1], again[0], again[2]) == 200
        snapshot = store.snapshot("acme")
        assert sorted(found_ids(store)) == sorted([*again, *others])
        assert not any("id_conflict" in flags for flags in snapshot.hot["flags"].to_pylist() if flags)

    repeat()
    repeat()
    store.seal()
    repeat()
    for _ in range(16):
        others.append(uuid7())
        assert ask_http(receiver.http, key, others[-1]) == 200
        store.seal()
    assert store.compact() > 0
    repeat()


def test_a_delivery_repeated_after_a_restart_is_stored_once(tmp_path: Path) -> None:
    again, key = [uuid7(), uuid7()], ""
    for start in range(4):
        with running(Receiver(tmp_path / "data")) as receiver:
            key = key or receiver.key("acme")
            assert ask_http(receiver.http, key, *again) == 200
            assert sorted(found_ids(receiver.store.inner)) == sorted(again), start
            if start == 1:
                receiver.store.inner.seal()


def test_a_clock_set_back_leaves_the_sequence_rising(tmp_path: Path) -> None:
    clock = [NOW]
    root = RegionRoot(tmp_path / "root")
    for start in range(3):
        store = Store(root, now=lambda: clock[0].timestamp())
        for step in range(4):
            number = start * 4 + step + 1
            append(store, number, day=clock[0])
            assert store.snapshot(TENANT).position == {store.writer_id: number}
            clock[0] -= timedelta(days=20)
            if step % 2:
                store.seal()
        check_folder(store, start, tidied=True)
        store.close()
    store = open_store(root)
    snapshot = store.snapshot(TENANT)
    assert sorted(ref.seq_min for ref in snapshot.files)[0] == 1
    assert len(found_ids(store)) == 12
    store.close()


@pytest.mark.parametrize("days", [-800, -200, 3, 400])
def test_an_event_of_another_time_is_found_by_it_and_lives_as_long_as_any(
    receiver: Receiver, days: int
) -> None:
    key, store = receiver.key("acme"), receiver.store.inner
    now = datetime.now(UTC)
    own_time, skewed = now + timedelta(days=days), uuid7()
    body = request([record(record_id=skewed, time_ns=int(own_time.timestamp()) * 10**9)])
    assert post(receiver.http, key, body.SerializeToString())[0] == 200
    [stored] = receiver.rows()
    assert "time_skewed" in stored["flags"]
    assert stored["date"] == stored["received_time"].astimezone(UTC).date().isoformat()
    store.seal()
    hour = timedelta(hours=1)
    around = [("from", (own_time - hour).isoformat()), ("to", (own_time + hour).isoformat())]
    engine = Engine(memory_limit="128MB")
    try:
        page = search(engine, store, "acme", Filters.parse(around, now=now), limit=10)
    finally:
        engine.close()
    assert [event["event_id"] for event in page.events] == [skewed]

    def expire(at: datetime) -> int:
        gone = store.run_retention(lambda *_: DEFAULT_MONTHS, now=at, actor="test")
        return sum(partition.rows for partition in gone)

    assert expire(now) == 0
    assert expire(now + timedelta(days=180)) == 0
    assert expire(now + timedelta(days=187)) == 1


def test_queries_answer_while_a_damaged_file_cannot_be_moved(tmp_path: Path) -> None:
    fs = sound()
    store = open_store(RegionRoot(tmp_path / "root"), fs)
    append(store, 1)
    store.seal()
    append(store, 2)
    [path] = [ref.path for ref in store.snapshot(TENANT).files]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    fs.break_now(errno.EROFS)
    assert found_ids(store) == [event_id(2)]
    assert [damage.file for damage in store.snapshot(TENANT).damaged] == [path.name]
    fs.heal()
    assert found_ids(store) == [event_id(2)]
    assert not path.exists()
    store.close()
