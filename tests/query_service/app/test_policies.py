"""A policy that cannot be used refuses, and refuses nobody else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from otel_audit.exporter.redaction.tenant_policy import DEFAULT, parse_policy
from otel_audit.exporter.store.errors import StoreUnavailable
from tests.support.process import run
from tests.support.server import QueryServer

TOMORROW = '{"fields": {"tomorrow": "mask"}}'


def test_events_of_an_organization_whose_policy_cannot_be_read_are_refused_until_it_is_set_again(
    tmp_path: Path,
) -> None:
    server = QueryServer(tmp_path / "data").start()
    try:
        for org in ("acme", "globex"):
            server.core.tenants.add(org)
        with sqlite3.connect(tmp_path / "data" / "control.sqlite") as raw:
            raw.execute("INSERT INTO redaction_policies VALUES ('acme', ?)", (TOMORROW,))
        raw.close()
        server.core.tenants.forget_recent()
        with pytest.raises(StoreUnavailable, match="there is no field 'tomorrow'") as caught:
            server.ingest("acme")
        assert "tenant set acme --redaction" in caught.value.hint
        server.ingest("globex")
        told = run(tmp_path / "data", "doctor", check=False)
        assert told.returncode == 1
        assert "policy of acme: there is no field 'tomorrow'" in told.stdout
        assert "globex: there" not in told.stdout
        server.core.tenants.set("acme", redaction=parse_policy('[fields]\nuser_id = "mask"'))
        server.ingest("acme", user_id="ada")
        assert server.trail("acme", ("user", "a•••"))
        server.core.tenants.set("acme", redaction=DEFAULT)
        server.ingest("acme", user_id="ada")
        assert server.trail("acme", ("user", "ada"))
    finally:
        server.stop()
