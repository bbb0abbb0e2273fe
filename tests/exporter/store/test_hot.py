"""Hot rows: many small frames cost little, and what is sealed leaves by its number."""

from __future__ import annotations

import random

import pyarrow as pa

from otel_audit.exporter.store.intake.frame import Frame
from otel_audit.exporter.store.intake.hot import HotRows, join
from tests.support.rows import batch, row


def fill(hot: HotRows, sizes: list[int], *, tenant: str = "acme", writer: str = "w1") -> list[str]:
    """Frames of these sizes, numbered from 1; the ids of their rows in order."""
    ids: list[str] = []
    for size in sizes:
        rows = [row() for _ in range(size)]
        hot.add(Frame(tenant, writer, len(ids) + 1, batch(*rows)), now=7.0)
        ids += [each["event_id"] for each in rows]
    return ids


def rows_of(hot: HotRows, tenant: str = "acme") -> pa.Table:
    return join(hot.tables(tenant), None)


def test_a_small_tenants_rows_are_one_frame_in_their_order() -> None:
    hot = HotRows()
    ids = fill(hot, [3] * 40)
    assert len(hot.tenants["acme"].frames) == 1
    assert rows_of(hot)["event_id"].to_pylist() == ids
    assert rows_of(hot)["seq"].to_pylist() == list(range(1, 121))
    assert all(len(hot.known("acme", each)) == 1 for each in ids)


def test_many_frames_are_joined_to_few_and_no_row_is_copied_often() -> None:
    hot = HotRows()
    draw = random.Random(2)
    sizes = [draw.randrange(1, 400) for _ in range(60)]
    ids = fill(hot, sizes)
    assert rows_of(hot)["event_id"].to_pylist() == ids
    frames = [frame.rows.num_rows for frame in hot.tenants["acme"].frames]
    assert sum(frames) == sum(sizes)
    assert len(frames) < 10


def test_sealed_rows_leave_also_when_later_ones_were_joined_to_them() -> None:
    hot = HotRows()
    ids = fill(hot, [5, 5, 5])
    hot.drop("acme", "w1", 10, now=9.0)
    assert rows_of(hot)["event_id"].to_pylist() == ids[10:]
    assert rows_of(hot)["seq"].to_pylist() == list(range(11, 16))
    assert hot.known("acme", ids[0]) == ()
    assert hot.position("acme") == {"w1": 15}
    hot.drop("acme", "w1", 15, now=9.0)
    assert hot.tenants == {}
    assert hot.bytes == 0


def test_another_writers_rows_stay_when_one_writers_are_sealed() -> None:
    hot = HotRows()
    fill(hot, [4], writer="w0")
    mine = fill(hot, [4, 4], writer="w1")
    hot.drop("acme", "w0", 4, now=9.0)
    assert rows_of(hot)["event_id"].to_pylist() == mine
    assert hot.position("acme") == {"w1": 8}
