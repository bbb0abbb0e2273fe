"""Keys for tokens: made on need, rotated, seen by other processes, bounded."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreError
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.token_keys import KEYS_MAX, TokenKeys


def test_a_key_is_made_on_first_need_for_its_owner_alone(tmp_path: Path) -> None:
    keys = TokenKeys(tmp_path)
    assert keys.all("acme") == ()
    made = keys.current("acme")
    assert made.number == 1
    (path,) = (tmp_path / "acme").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TokenKeys(tmp_path).current("acme") == made
    assert TokenKeys(tmp_path).current("globex").key != made.key


def test_a_rotation_elsewhere_is_seen_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    now = 0.0
    server = TokenKeys(tmp_path, clock=lambda: now)
    first = server.current("acme")
    second = TokenKeys(tmp_path).rotate("acme")
    assert server.current("acme") == first
    now = 0.25
    assert server.current("acme") == second
    assert server.all("acme") == (first, second)


def test_numbers_order_keys_and_are_never_used_again(tmp_path: Path) -> None:
    keys = TokenKeys(tmp_path)
    for _ in range(11):
        keys.rotate("acme")
    assert [key.number for key in keys.all("acme")] == list(range(1, 12))
    old = keys.replaced_before("acme", datetime.now(UTC) + timedelta(seconds=1))
    assert [key.number for key in old] == list(range(1, 11))
    keys.remove("acme", old)
    assert [key.number for key in keys.all("acme")] == [11]
    assert keys.rotate("acme").number == 12


def test_there_is_a_most_of_keys(tmp_path: Path) -> None:
    keys = TokenKeys(tmp_path)
    for _ in range(KEYS_MAX):
        keys.rotate("acme")
    with pytest.raises(StoreError, match="the most") as caught:
        keys.rotate("acme")
    assert "retention" in caught.value.hint
    assert len(keys.all("acme")) == KEYS_MAX


def test_a_damaged_key_is_an_error_and_no_other_key(tmp_path: Path) -> None:
    TokenKeys(tmp_path).current("acme")
    path = tmp_path / "acme" / "1.json"
    path.chmod(0o600)
    path.write_text('{"key": "00"}')
    with pytest.raises(StoreError, match="damaged"):
        TokenKeys(tmp_path).current("acme")


def test_forgetting_a_tenant_takes_its_token_keys_along(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.key("acme", "unknown_user")
    ring.token_key("acme")
    ring.token_key("globex")
    ring.forget("acme")
    ring.forget("acme")
    assert ring.token_keys("acme") == ()
    assert not ring.tokens.path("acme").exists()
    assert len(ring.token_keys("globex")) == 1
