from __future__ import annotations

import asyncio
import contextvars
import threading

from opentelemetry import baggage

from otel_audit.instrumentation import AuditEvent, audit
from otel_audit.instrumentation.ids import uuid7
from otel_audit.instrumentation.testing import capture


def read() -> None:
    audit.record("data_access", "read")


def actors(events: list[AuditEvent]) -> list[str | None]:
    return [event.user_id for event in events]


def test_facts_hold_inside_their_block_and_inner_blocks_win() -> None:
    with capture() as events:
        with audit.context(user_id="ann", tenant="acme", session_id="s-1"):
            with audit.context(user_id="bob"):
                read()
            read()
        read()
    assert actors(events) == ["bob", "ann", None]
    assert [event.tenant for event in events] == ["acme", "acme", None]
    assert [event.user_type for event in events] == ["user", "user", "system"]


def test_one_persons_address_and_roles_never_end_up_on_another_persons_event() -> None:
    with (
        capture() as events,
        audit.context(user_id="ann", user_email="ann@example.com", user_roles=["admin"]),
    ):
        audit.record("data_access", "read", user_id="bob")
        audit.record("data_access", "read", user_name="Ann", user_id="ann")
        audit.record("authentication", "login_failed", user_email="typed@example.com")
        audit.record("authentication", "login_failed", user_name="typed")
    assert [(e.user_id, e.user_email, e.user_name, tuple(e.user_roles)) for e in events] == [
        ("bob", None, None, ()),
        ("ann", "ann@example.com", "Ann", ("admin",)),
        (None, "typed@example.com", None, ()),
        (None, None, "typed", ()),
    ]
    assert [event.user_type for event in events] == ["user", "user", "anonymous", "anonymous"]


def test_concurrent_tasks_keep_their_own_actor_across_await() -> None:
    async def act(user: str, turn: asyncio.Event, done: asyncio.Event) -> None:
        with audit.context(user_id=user):
            done.set()
            await turn.wait()
            read()
            await asyncio.to_thread(read)

    async def both() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        await asyncio.gather(act("ann", first, second), act("bob", second, first))

    with capture() as events:
        asyncio.run(both())
    assert sorted(str(actor) for actor in actors(events)) == ["ann", "ann", "bob", "bob"]


def test_a_thread_started_with_a_copy_of_the_context_acts_for_the_same_user() -> None:
    with capture() as events, audit.context(user_id="ann"):
        for run in (contextvars.copy_context().run, lambda work: work()):
            thread = threading.Thread(target=run, args=(read,))
            thread.start()
            thread.join()
    assert actors(events) == ["ann", None]


def test_a_block_left_in_another_copy_of_the_context_breaks_nothing() -> None:
    block = audit.context(user_id="ann")
    contextvars.copy_context().run(block.__enter__)
    contextvars.copy_context().run(block.__exit__, None, None, None)
    with capture() as events:
        read()
    assert actors(events) == [None]


def test_a_request_id_reaches_events_and_the_baggage_of_outgoing_calls() -> None:
    request_id = uuid7()
    with capture() as events:
        with audit.context(request_id=request_id.upper()):
            read()
            assert baggage.get_baggage("audit.request.id") == request_id
        with audit.context(request_id="not a uuid"):
            read()
        assert baggage.get_baggage("audit.request.id") is None
    assert [event.request_id for event in events] == [request_id, None]
