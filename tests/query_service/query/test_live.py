"""The live stream: everything once and in order, bounded for slow readers, never blocking the writer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from otel_audit.exporter.store.snapshot import Snapshot
from otel_audit.query_service import live as live_module
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.live import LiveHub, LiveStream, Message, PositionTooOld, TooManyStreams
from otel_audit.query_service.position import InvalidPosition, Position, decode_position, encode_position
from otel_audit.query_service.search import get_event
from tests.support.events import DiskStore, event_row, event_rows, table_of

START = datetime(2026, 3, 1, tzinfo=UTC)
ENGINE = Engine(memory_limit="256MB")
NONE = Filters.parse([], now=START)
DEADLINE_S = 20.0


def rows(first: int, last: int, writer: str = "w1", **given: Any) -> Any:
    """Rows numbered first to last, both included; every third one is of category security."""
    return table_of(
        event_row(
            seq=n,
            writer=writer,
            time=START + timedelta(seconds=n),
            event_id=f"{n:08x}-0000-4000-8000-{len(writer):012x}",
            category="security" if n % 3 == 0 else "data_access",
            **given,
        )
        for n in range(first, last + 1)
    )


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test()

    asyncio.run(bounded())


def hub_of(store: DiskStore, **options: Any) -> LiveHub:
    return LiveHub(store.subscribe, ENGINE, store, **options)


def reading_of(stream: LiveStream) -> aclosing[AsyncGenerator[Message, None]]:
    return aclosing(cast(AsyncGenerator[Message, None], aiter(stream)))


async def take(stream: LiveStream, events: int) -> list[Message]:
    """Messages up to the given number of events, gaps included, heartbeats left out."""
    taken: list[Message] = []
    async with reading_of(stream) as messages:
        async for message in messages:
            if message["type"] != "heartbeat":
                taken.append(message)
            if sum(each["type"] == "event" for each in taken) >= events:
                return taken
    return taken


def numbers(messages: list[Message]) -> list[int]:
    return [message["event"]["seq"] for message in messages if message["type"] == "event"]


def test_what_becomes_durable_after_opening_arrives_once_and_in_order(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(rows(1, 5))

    async def test() -> None:
        async with hub_of(store).open("acme", NONE, None) as stream:
            # Published before the first message is asked for.
            store.publish(rows(6, 8))
            store.publish(table_of([event_row(seq=1, tenant="other")]))
            store.publish(rows(9, 9))
            messages = await take(stream, 4)
        assert numbers(messages) == [6, 7, 8, 9]
        assert messages[0]["event"] == get_event(ENGINE, store, "acme", messages[0]["event"]["event_id"])
        assert [decode_position(m["position"]).writers for m in messages] == [{"w1": n} for n in (6, 7, 8, 9)]

    run(test)


@pytest.mark.parametrize(
    "items", [[("category", "security")], [("not.category", "data_access"), ("range", "1m")]]
)
def test_the_filter_decides_but_not_its_time_range(tmp_path: Path, items: list[tuple[str, str]]) -> None:
    store = DiskStore(tmp_path)
    filters = Filters.parse(items, now=datetime.now(UTC))

    async def test() -> None:
        async with hub_of(store).open("acme", filters, None) as stream:
            for start in range(1, 31, 10):
                store.publish(rows(start, start + 9))
            assert numbers(await take(stream, 10)) == list(range(3, 31, 3))

    run(test)


@pytest.mark.parametrize("items", [[], [("category", "security")]])
def test_resuming_neither_misses_nor_doubles_while_events_keep_coming(
    tmp_path: Path, items: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "_BATCH_ROWS", 7)
    store = DiskStore(tmp_path)
    store.add(rows(1, 40))
    store.add(rows(41, 60))
    store.add(rows(1, 20, "other"))
    store.add_hot(rows(61, 80))
    filters = Filters.parse(items, now=START)
    after = encode_position(Position({"w1": 35, "other": 20}, datetime.now(UTC)))
    wanted = [n for n in range(36, 201) if not items or n % 3 == 0]

    async def test() -> None:
        def write() -> None:
            for start in range(81, 201, 5):
                store.publish(rows(start, start + 4))
                if start % 40 == 1:
                    store.seal("acme")

        async with hub_of(store).open("acme", filters, after) as stream:
            writer = threading.Thread(target=write)
            writer.start()
            assert numbers(await take(stream, len(wanted))) == wanted
            writer.join()

    run(test)


def test_every_position_resumes_right_after_its_event(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(rows(1, 3))

    async def test() -> None:
        hub = hub_of(store)
        async with hub.open("acme", NONE, None) as stream:
            store.publish(rows(4, 6))
            store.publish(rows(1, 2, "w2"))
            first = await take(stream, 5)
        assert numbers(first) == [4, 5, 6, 1, 2]
        for index, message in enumerate(first[:-1]):
            async with hub.open("acme", NONE, message["position"]) as stream:
                rest = await take(stream, 4 - index)
            assert numbers(rest) == numbers(first)[index + 1 :]

    run(test)


def test_a_slow_reader_gets_a_gap_with_the_number_of_dropped_events(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)

    async def test() -> None:
        async with hub_of(store, buffer_events_max=10).open("acme", NONE, None) as stream:
            for start in range(1, 41, 4):
                store.publish(rows(start, start + 3))
            messages = []
            async with reading_of(stream) as reading:
                async for message in reading:
                    messages.append(message)
                    if message["type"] == "gap":
                        store.publish(rows(41, 41))
                    if numbers(messages)[-1:] == [41]:
                        break
        assert numbers(messages) == [*range(1, 11), 41]
        gaps = [message for message in messages if message["type"] == "gap"]
        assert [gap["dropped"] for gap in gaps] == [30]
        # Resuming from the gap gives what was dropped.
        assert decode_position(gaps[0]["position"]).writers == {"w1": 10}

    run(test)


def test_what_overflows_during_a_replay_is_replayed_too(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(rows(1, 30))
    after = encode_position(Position({"w1": 0}, datetime.now(UTC)))

    async def test() -> None:
        seen: list[Message] = []
        opening = hub_of(store, buffer_events_max=5).open("acme", NONE, after)
        async with opening as stream, reading_of(stream) as reading:
            async for message in reading:
                seen.append(message)
                if len(seen) == 1:
                    for start in range(31, 91, 4):
                        store.publish(rows(start, start + 3))
                if len(seen) == 90:
                    break
        assert numbers(seen) == list(range(1, 91))

    run(test)


class Moving(DiskStore):
    """Replaces its first file right after the first snapshot."""

    moved = False

    def snapshot(self, tenant: str, **options: Any) -> Snapshot:
        snapshot = super().snapshot(tenant, **options)
        if not self.moved:
            self.moved = True
            self.replace(tenant, self.files[tenant][0], rows(1, 30))
        return snapshot


def test_a_file_replaced_during_a_replay_changes_nothing(tmp_path: Path) -> None:
    store = Moving(tmp_path)
    store.add(rows(1, 30))
    after = encode_position(Position({"w1": 10}, datetime.now(UTC)))

    async def test() -> None:
        async with hub_of(store).open("acme", NONE, after) as stream:
            assert numbers(await take(stream, 20)) == list(range(11, 31))

    run(test)


def test_a_position_above_everything_does_not_hide_what_comes(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(rows(1, 3))
    after = encode_position(Position({"w1": 1_000}, datetime.now(UTC)))

    async def test() -> None:
        async with hub_of(store).open("acme", NONE, after) as stream:
            store.publish(rows(4, 5))
            assert numbers(await take(stream, 2)) == [4, 5]

    run(test)


def test_a_position_older_than_a_day_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        hub = hub_of(DiskStore(tmp_path))
        old = encode_position(Position({}, datetime.now(UTC) - timedelta(hours=24, seconds=1)))
        with pytest.raises(PositionTooOld):
            async with hub.open("acme", NONE, old):
                pass
        with pytest.raises(InvalidPosition):
            async with hub.open("acme", NONE, "nonsense"):
                pass
        assert hub.streams == 0

    run(test)


def test_heartbeats_come_even_when_nothing_matches(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    filters = Filters.parse([("action", "never")], now=START)

    async def test() -> None:
        stop = threading.Event()

        def write() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                store.publish(rows(n, n))
                stop.wait(0.01)

        async with hub_of(store, heartbeat_s=0.1).open("acme", filters, None) as stream:
            writer = threading.Thread(target=write)
            writer.start()
            try:
                async with reading_of(stream) as reading:
                    beats = [await anext(reading) for _ in range(3)]
            finally:
                stop.set()
                writer.join()
        assert {beat["type"] for beat in beats} == {"heartbeat"}
        reached = [decode_position(beat["position"]).writers["w1"] for beat in beats]
        assert reached == sorted(reached)
        assert reached[-1] > 0

    run(test)


def test_streams_are_bounded_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "STREAMS_MAX", 1)

    async def test() -> None:
        hub = hub_of(DiskStore(tmp_path))
        async with hub.open("acme", NONE, None):
            assert hub.streams == 1
            with pytest.raises(TooManyStreams):
                async with hub.open("acme", NONE, None):
                    pass
        assert hub.streams == 0

    run(test)


def test_closing_the_hub_ends_its_streams(tmp_path: Path) -> None:
    async def test() -> None:
        hub = hub_of(DiskStore(tmp_path))
        async with hub.open("acme", NONE, None) as stream:
            reading = asyncio.create_task(take(stream, 1))
            await asyncio.sleep(0)
            await hub.close()
            assert await reading == []

    run(test)


def test_a_reader_whose_loop_has_ended_does_not_disturb_the_writer(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)

    async def test() -> None:
        hub = hub_of(store)
        await hub.open("acme", NONE, None).__aenter__()

    run(test)
    store.publish(rows(1, 3))
    store.publish(rows(4, 5))


def test_a_burst_is_filtered_in_few_queries(tmp_path: Path) -> None:
    store, filters = DiskStore(tmp_path), Filters.parse([("q", "report")], now=START)
    made = event_rows(1_000, start=START, end=START + timedelta(hours=1))

    class Counting(Engine):
        scans = 0

        def scan(self, *given: Any, **options: Any) -> Any:
            self.scans += 1
            return super().scan(*given, **options)

    engine = Counting(memory_limit="256MB")

    async def test() -> None:
        async with LiveHub(store.subscribe, engine, store).open("acme", filters, None) as stream:
            for start in range(0, 1_000, 10):
                store.publish(made.slice(start, 10))
            assert numbers(await take(stream, 1_000)) == list(range(1, 1_001))
        assert engine.scans <= 5

    run(test)
    engine.close()
