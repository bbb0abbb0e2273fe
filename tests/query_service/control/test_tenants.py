from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_audit.query_service.control.outbox import os_actor
from otel_audit.query_service.control.retention import InvalidRetention, parse_retention
from otel_audit.query_service.control.tenants import InvalidTenant, NoSuchTenant, TenantExists
from tests.support.control import DAY_S, Control


@pytest.mark.parametrize(
    "tenant",
    ["", "A", "1a", "-a", "_a", "a b", "a/..", "a*", "é", "a" * 64, "acme\n", "..", "tenant=b", "a.b"],
)
def test_an_id_that_could_reach_another_path_is_refused(tmp_path: Path, tenant: str) -> None:
    control = Control(tmp_path)
    with pytest.raises(InvalidTenant):
        control.tenants.add(tenant)
    assert not control.tenants.exists(tenant)
    assert not control.tenants.ensure(tenant, actor=os_actor())


def test_a_tenant_is_found_by_its_id_and_its_aliases(tmp_path: Path) -> None:
    tenants = Control(tmp_path).tenants
    added = tenants.add("acme", aliases=["ACME Ltd", "4711"], retention={"rag": 1})
    assert added.retention == {"standard": 6, "rag": 1}
    assert added == tenants.show("acme")
    assert [tenants.resolve(name) for name in ("acme", "ACME Ltd", "4711", "acme ltd")] == [
        "acme",
        "acme",
        "acme",
        None,
    ]
    with pytest.raises(NoSuchTenant):
        tenants.show("4711")


def test_a_name_belongs_to_one_tenant_only(tmp_path: Path) -> None:
    tenants = Control(tmp_path).tenants
    tenants.add("acme", aliases=["shop"])
    with pytest.raises(TenantExists, match="already exists"):
        tenants.add("acme")
    with pytest.raises(TenantExists, match="alias of acme"):
        tenants.add("shop")
    for taken in ("shop", "acme"):
        with pytest.raises(TenantExists):
            tenants.add("other", aliases=[taken])
    assert not tenants.exists("other")
    with pytest.raises(TenantExists):
        tenants.add("operator")


def test_no_name_leads_into_the_operators_own_trail(tmp_path: Path) -> None:
    control = Control(tmp_path)
    with pytest.raises(InvalidTenant):
        control.tenants.set("operator", add_aliases=["ops"])
    assert control.keys.resolve_tenant("operator") is None
    assert control.keys.create_tenant("operator") is None


def test_aliases_can_be_taken_back_and_given_to_another(tmp_path: Path) -> None:
    tenants = Control(tmp_path).tenants
    tenants.add("acme", aliases=["shop"])
    tenants.add("other")
    assert tenants.set("acme", remove_aliases=["shop"], add_aliases=["store"]).aliases == ("store",)
    assert tenants.set("other", add_aliases=["shop"]).aliases == ("shop",)


def test_a_longer_retention_is_in_force_at_once(tmp_path: Path) -> None:
    tenants = Control(tmp_path).tenants
    tenants.add("acme")
    assert tenants.set("acme", retention={"standard": 12}).retention == {"standard": 12, "rag": 3}


def test_a_shorter_retention_needs_a_reason_and_waits_seven_days(tmp_path: Path) -> None:
    control = Control(tmp_path)
    tenants, clock = control.tenants, control.clock
    tenants.add("acme")
    for reason in (None, "", "  "):
        with pytest.raises(InvalidRetention):
            tenants.set("acme", retention={"standard": 1}, reason=reason)
    changed = tenants.set("acme", retention={"standard": 1}, reason="storage cost")
    due = clock() + 7 * DAY_S
    assert changed.retention == {"standard": 6, "rag": 3}
    assert changed.retention_pending["standard"].effective_at == due
    assert tenants.retention_of("acme", due - 1)["standard"] == 6
    assert tenants.retention_of("acme", due)["standard"] == 1
    assert tenants.retention_of("acme", datetime.fromtimestamp(due, UTC))["standard"] == 1
    clock.seconds = due
    assert tenants.show("acme").retention_pending == {}


def test_each_class_waits_for_its_own_day(tmp_path: Path) -> None:
    control = Control(tmp_path)
    tenants, clock = control.tenants, control.clock
    tenants.add("acme")
    tenants.set("acme", retention={"rag": 1}, reason="first")
    start = clock()
    clock.seconds += 3 * DAY_S
    tenants.set("acme", retention={"standard": 2}, reason="second")
    assert tenants.retention_of("acme", start + 7 * DAY_S) == {"standard": 6, "rag": 1}
    assert tenants.retention_of("acme", start + 10 * DAY_S) == {"standard": 2, "rag": 1}


def test_asking_for_the_old_time_again_takes_a_waiting_shortening_back(tmp_path: Path) -> None:
    control = Control(tmp_path)
    control.tenants.add("acme")
    control.tenants.set("acme", retention={"standard": 1}, reason="mistake")
    control.tenants.set("acme", retention={"standard": 6})
    assert control.tenants.retention_of("acme", control.clock() + 365 * DAY_S)["standard"] == 6


def test_now_shortens_at_once_and_the_reason_is_recorded(tmp_path: Path) -> None:
    control = Control(tmp_path)
    control.tenants.add("acme")
    control.tenants.set("acme", retention={"rag": 1}, reason="contract", at_once=True)
    assert control.tenants.show("acme").retention["rag"] == 1
    event = control.recorded("acme")[-1]
    assert event.changes == {"retention": ({"rag": 3, "standard": 6}, {"rag": 1, "standard": 6})}
    assert event.attributes == {"otel_audit.reason": "contract"}


@pytest.mark.parametrize(
    "text",
    ["", "standard", "standard=6", "standard=0mo", "gold=6mo", "rag=3mo,rag=4mo", "rag=-3mo", "rag=101y"],
)
def test_a_retention_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(InvalidRetention):
        parse_retention(text)


def test_retention_is_written_in_months_or_years() -> None:
    assert parse_retention("standard=6mo, rag=1y") == {"standard": 6, "rag": 12}


@pytest.mark.parametrize("rate", ["", "10", "0/h", "10/s", "-1/h", "10/h ", "1e3/h"])
def test_an_export_rate_that_is_not_understood_is_refused(tmp_path: Path, rate: str) -> None:
    with pytest.raises(InvalidTenant):
        Control(tmp_path).tenants.add("acme", export_rate=rate)


def test_every_change_is_recorded_for_the_organization_and_the_operator(tmp_path: Path) -> None:
    control = Control(tmp_path)
    control.tenants.add("acme", aliases=["shop"])
    control.tenants.set("acme", export_rate="5/h")
    control.tenants.set("acme", export_rate="5/h")
    for tenant in ("acme", "operator"):
        added, changed = control.recorded(tenant)
        assert (added.category, added.action, added.target_id) == ("system", "config_change", "acme")
        assert added.user_id == os_actor().user_id
        assert added.user_id.startswith("os:")
        assert changed.changes == {"export_rate": ("10/h", "5/h")}
    ids = [event.record_id for tenant in ("acme", "operator") for event in control.recorded(tenant)]
    assert len(set(ids)) == 4


def test_the_actor_is_the_real_user_and_not_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = os_actor()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert os_actor() == before
