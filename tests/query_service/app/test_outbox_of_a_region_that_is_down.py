"""Events that wait for a region that is down keep nobody else's events waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.instrumentation.errors import AuditError
from otel_audit.query_service.app.core import Core
from otel_audit.query_service.control.outbox import Outbox
from otel_audit.query_service.settings import Settings


def test_two_hundred_events_of_a_region_that_is_down_keep_no_other_waiting(tmp_path: Path) -> None:
    regions = {name: tmp_path / name for name in ("eu", "us")}
    core = Core(Settings(data_dir=tmp_path / "data", regions=regions))
    try:
        core.tenants.add("acme", region="eu")
        core.tenants.add("globex", region="us")
        core.record_waiting()
        for number in range(250):
            core.holds.add("globex", f"matter-{number}", "because")
        core.holds.add("acme", "late", "because")
        core.store.store("globex").close()
        with pytest.raises(AuditError):
            core.self_audit.drain_outbox()
        stored = core.store.snapshot("acme").hot.to_pylist()
        assert [row["resource_id"] for row in stored if row["action"] == "hold_change"] == ["late"]
        waiting = Outbox(core.db).waiting(1_000)
        assert [row.tenant for row in waiting] == ["globex"] * 250
    finally:
        core.close()
