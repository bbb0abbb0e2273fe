"""The export rate: ten an hour, two at once, and only those that came to something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_audit.instrumentation.errors import AuditError
from otel_audit.query_service.control.database import ControlDatabase
from otel_audit.query_service.control.exports import Exports
from otel_audit.query_service.export_rate import ExportLimited, ExportLimiter, ExportPermit, parse_rate

RATE = "10/h"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[Exports]:
    database = ControlDatabase.open(tmp_path / "control.sqlite")
    yield Exports(database, clock)
    database.close()


def begin(limiter: ExportLimiter, org: str = "acme") -> ExportPermit:
    return limiter.start(org, "ann@example.org", RATE)


def test_the_eleventh_export_within_an_hour_waits_for_the_first_to_leave_it(
    log: Exports, clock: Clock
) -> None:
    limiter = ExportLimiter(log, clock)
    for _ in range(10):
        begin(limiter).finish("done")
        clock.now += 60
    with pytest.raises(ExportLimited) as caught:
        begin(limiter)
    assert caught.value.retry_after_s == 3_600 - 600
    begin(limiter, "globex").finish("done")
    clock.now += caught.value.retry_after_s - 1
    with pytest.raises(ExportLimited):
        begin(limiter)
    clock.now += 1
    begin(limiter).finish("done")
    with pytest.raises(ExportLimited):
        begin(limiter)


def test_failed_and_cancelled_exports_do_not_count(log: Exports, clock: Clock) -> None:
    limiter = ExportLimiter(log, clock)
    for _ in range(10):
        begin(limiter).finish("failed")
        begin(limiter).finish("cancelled")
    for _ in range(10):
        begin(limiter).finish("done")
    with pytest.raises(ExportLimited):
        begin(limiter)


def test_two_run_at_once_and_a_third_waits(log: Exports, clock: Clock) -> None:
    limiter = ExportLimiter(log, clock)
    first, _ = begin(limiter), begin(limiter)
    with pytest.raises(ExportLimited) as caught:
        begin(limiter)
    assert 0 < caught.value.retry_after_s < 60
    begin(limiter, "globex")
    # An export that began before the rate's period still runs.
    clock.now += 3 * 3_600
    with pytest.raises(ExportLimited):
        begin(limiter)
    first.finish("done")
    begin(limiter)


def test_the_rate_outlives_a_restart_but_what_died_with_it_does_not_count(log: Exports, clock: Clock) -> None:
    before = ExportLimiter(log, clock)
    for _ in range(9):
        begin(before).finish("done")
    begin(before)
    assert log.fail_unfinished() == 1
    after = ExportLimiter(log, clock)
    begin(after).finish("done")
    with pytest.raises(ExportLimited):
        begin(after)


def test_two_callers_at_the_same_moment_do_not_share_the_last_leave(log: Exports, clock: Clock) -> None:
    limiter = ExportLimiter(log, clock)
    begin(limiter)
    barrier, granted = threading.Barrier(6), list[ExportPermit]()

    def ask() -> None:
        barrier.wait()
        try:
            granted.append(begin(limiter))
        except ExportLimited:
            return

    callers = [threading.Thread(target=ask) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(granted) == 1


@pytest.mark.parametrize(("text", "rate"), [("10/h", (10, 3_600)), ("1/s", (1, 1)), ("99/d", (99, 86_400))])
def test_a_rate_is_a_number_and_a_unit(text: str, rate: tuple[int, int]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "10", "0/h", "10/w", "-1/h", "10 / h"])
def test_a_wrong_rate_is_refused(text: str) -> None:
    with pytest.raises(AuditError):
        parse_rate(text)
