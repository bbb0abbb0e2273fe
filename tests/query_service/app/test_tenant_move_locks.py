"""A move needs both roots for itself, and lets go of one when it cannot have the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreLocked
from otel_audit.exporter.store.lock import RootLock
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.query_service.app.tenant_move import locked


def test_a_root_that_is_in_use_leaves_the_other_one_free(tmp_path: Path) -> None:
    source, target = (RegionRoot(tmp_path / name) for name in ("eu", "us"))
    server = RootLock(target.run)
    with pytest.raises(StoreLocked), locked(source, target):
        raise AssertionError("unreachable")
    RootLock(source.run).release()
    server.release()
    with locked(source, target), pytest.raises(StoreLocked):
        RootLock(target.run)
