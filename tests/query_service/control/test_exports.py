from __future__ import annotations

from pathlib import Path

from otel_audit.query_service.control.exports import Exports
from tests.support.control import DAY_S, Control


def test_exports_are_remembered_by_organization_and_time(tmp_path: Path) -> None:
    control = Control(tmp_path)
    exports = Exports(control.db, control.clock)
    first = exports.add("acme", "ada@example.com")
    control.clock.seconds += 10
    second = exports.add("acme", "ada@example.com")
    exports.add("other", "eve@example.com")
    exports.finish(first, "cancelled")
    exports.finish(first, "done")
    assert [(e.id, e.outcome) for e in exports.recent("acme", 0)] == [(first, "cancelled"), (second, None)]
    assert [e.id for e in exports.recent("acme", control.clock())] == [second]
    again = Exports(control.db, control.clock)
    assert again.fail_unfinished() == 2
    assert [e.outcome for e in again.recent("acme", 0)] == ["cancelled", "failed"]


def test_what_no_rate_counts_any_more_is_removed(tmp_path: Path) -> None:
    control = Control(tmp_path)
    exports = Exports(control.db, control.clock)
    exports.add("acme", "ada@example.com")
    control.clock.seconds += 3 * DAY_S
    newest = exports.add("acme", "ada@example.com")
    assert [e.id for e in exports.recent("acme", 0)] == [newest]
