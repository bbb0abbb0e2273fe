from __future__ import annotations

import threading
import uuid

import pytest

from otel_audit.instrumentation.ids import canonical_uuid, uuid7


def test_ids_are_version_7_in_canonical_form() -> None:
    text = uuid7()
    parsed = uuid.UUID(text)
    assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)


def test_an_id_begins_with_the_milliseconds_of_its_time() -> None:
    milliseconds = 1_772_323_200_123
    assert uuid.UUID(uuid7(milliseconds * 1_000_000 + 999_999)).int >> 80 == milliseconds


def test_ids_of_a_process_ascend_and_never_repeat_even_across_threads() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(ids: list[str]) -> None:
        ids.extend(uuid7() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(ids,)) for ids in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({id_ for ids in made for id_ in ids}) == 8000


def test_an_id_for_a_given_time_does_not_move_the_clock_of_later_ones() -> None:
    future = uuid7(4_000_000_000 * 10**9)
    assert uuid7() < future


@pytest.mark.parametrize(
    "text",
    [
        "0191D5A4-1111-7222-8333-944455556666",
        "0191d5a4-1111-7222-8333-944455556666",
        "0191D5A4111172228333944455556666",
    ],
)
def test_uuids_in_any_spelling_become_canonical(text: str) -> None:
    assert canonical_uuid(text) == "0191d5a4-1111-7222-8333-944455556666"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "abc",
        "{0191d5a4-1111-7222-8333-944455556666}",
        "urn:uuid:0191d5a4-1111-7222-8333-944455556666",
        "0191d5a4-1111-7222-8333-944455556666\n",
        "٠191d5a4111172228333944455556666",
        "0191d5a41111-7222-8333-944455556666",
    ],
)
def test_anything_else_is_no_uuid(text: str | None) -> None:
    assert canonical_uuid(text) is None
