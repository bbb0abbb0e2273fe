"""Deleting an organization in the wired core: holds, forwarders, and ends that come too early."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_audit.query_service.app.core import Core
from otel_audit.query_service.control.deletions import TenantHeld
from otel_audit.query_service.control.outbox import Actor
from otel_audit.query_service.control.tenants import InvalidTenant, NoSuchTenant, TenantExists
from otel_audit.query_service.settings import Settings
from tests.support.rows import batch, row


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    opened = Core(Settings(data_dir=tmp_path / "data", hold_release_delay_s=0.0))
    opened.tenants.add("acme", ["Acme Corp"])
    opened.tenants.add("globex")
    opened.store.append({"acme": batch(row()), "globex": batch(row())})
    yield opened
    opened.close()


def test_a_hold_refuses_and_changes_nothing(core: Core) -> None:
    core.holds.add("globex", "another", "not about acme")
    core.holds.add("acme", "lawsuit", "Doe versus acme")
    with pytest.raises(TenantHeld, match="lawsuit") as refused:
        core.delete_tenant("acme", actor="os:ada")
    assert "hold release lawsuit" in refused.value.hint
    core.store.append({"acme": batch(row())})
    core.holds.release("lawsuit", "settled")
    assert core.delete_tenant("acme", actor="os:ada")["rows"] >= 2


def test_nobody_can_hold_what_is_being_deleted(core: Core) -> None:
    core.deletions.begin("acme", actor=Actor("os:ada"))
    with pytest.raises(NoSuchTenant):
        core.holds.add("acme", "late", "too late")
    core.delete_tenant("acme", actor="os:ada")
    with pytest.raises(NoSuchTenant):
        core.holds.add("acme", "late", "too late")
    assert core.holds.list("acme") == []


def test_the_operators_own_and_unknown_organizations_are_refused(core: Core) -> None:
    with pytest.raises(InvalidTenant):
        core.delete_tenant("operator", actor="os:ada")
    with pytest.raises(NoSuchTenant):
        core.delete_tenant("nobody", actor="os:ada")
    core.delete_tenant("acme", actor="os:ada")
    with pytest.raises(NoSuchTenant):
        core.delete_tenant("acme", actor="os:ada")


def test_a_deletion_that_was_begun_is_ended_by_a_repeat_after_a_restart(core: Core) -> None:
    core.deletions.begin("acme", actor=Actor("os:ada"))
    core.close()
    again = Core(core.settings)
    assert [item.tenant for item in again.deletions.unfinished()] == ["acme"]
    again.residence.glance()
    assert again.residence.problems == ("the deletion of acme has not ended",)
    assert not again.tenants.exists("acme")
    assert again.delete_tenant("acme", actor="os:grace")["rows"] == 1
    assert again.deletions.unfinished() == []
    assert not again.root.tenant("acme").exists()
    again.close()


def test_a_forwarders_key_keeps_asking_whose_each_record_is(core: Core) -> None:
    forwarder = core.keys.create(["acme", "globex"])
    alone = core.keys.create(["acme"])
    core.delete_tenant("acme", actor="os:ada")
    found = core.keys.find_key(forwarder.info.key_id)
    assert found is not None
    assert found.forwards, "else records of acme would be stored as those of globex"
    assert (found.revoked_at, core.keys.resolve_tenant("acme"), core.keys.resolve_tenant("Acme Corp")) == (
        None,
        None,
        None,
    )
    revoked = core.keys.find_key(alone.info.key_id)
    assert revoked is not None
    assert revoked.revoked_at is not None


def test_an_id_is_never_used_twice_but_may_be_an_alias(core: Core) -> None:
    core.delete_tenant("acme", actor="os:ada")
    with pytest.raises(TenantExists):
        core.tenants.add("acme")
    assert core.keys.create_tenant("acme") is None
    with pytest.raises(NoSuchTenant):
        core.keys.create(["acme"])
    core.tenants.add("acme-2", ["acme"])
    assert core.keys.resolve_tenant("acme") == "acme-2"


def test_rows_that_cannot_be_sealed_keep_nothing_from_being_deleted_by_age(tmp_path: Path) -> None:
    core = Core(Settings(data_dir=tmp_path / "data", regions={"eu": tmp_path / "eu"}))
    core.tenants.add("acme", region="eu")
    core.tenants.add("globex")
    core.store.append({"acme": batch(row()), "globex": batch(row())})
    core.store.seal()
    core.store.append({"globex": batch(row())})
    # A folder that cannot be made where the next file of globex would be.
    (core.root.tenant("globex") / "retention=rag").write_text("in the way")
    core.store.append({"globex": batch(row(retention="rag"))})
    gone = core.run_retention(datetime(2099, 1, 1, tzinfo=UTC), dry_run=False, actor="os:ada")
    assert sorted((each.tenant, each.rows) for each in gone) == [("acme", 1), ("globex", 1)]
    for tenant, waiting in (("acme", 0), ("globex", 2)):
        told = [event["action"] for event in core.store.snapshot(tenant).hot.to_pylist()]
        assert told.count("retention_delete") == 1
        assert len(told) == waiting + 1
    (core.root.tenant("globex") / "retention=rag").unlink()
    core.close()
