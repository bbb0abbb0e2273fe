"""A secret that somebody pastes into a command reaches no disk of ours."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from otel_audit.query_service.cli.main import run as run_command
from tests.support.process import find_bytes


@pytest.fixture
def secret() -> str:
    return f"sk_live_{secrets.token_hex(16)}"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    call(folder, "tenant", "add", "acme")
    call(folder, "hold", "add", "--tenant", "acme", "--name", "kept", "--reason", "letter")
    return folder


def call(data_dir: Path, *arguments: str) -> int:
    return run_command([*arguments, "--data-dir", str(data_dir)])


@pytest.mark.parametrize(
    "command",
    [
        ("hold", "add", "--tenant", "acme", "--name", "new", "--reason", "he sent {}"),
        ("hold", "release", "kept", "--tenant", "acme", "--reason", "password={}"),
        ("tenant", "set", "acme", "--retention", "standard=1mo", "--reason", "see {}"),
        ("tenant", "set", "acme", "--retention", "standard=1mo", "--reason", "see {}", "--now"),
        ("key", "create", "--tenant", "acme", "--name", "{}"),
        ("search", "--tenant", "acme", "--user", "{}"),
        ("search", "--tenant", "acme", "--resource-type", "{}"),
        ("search", "--tenant", "acme", "--q", "{}"),
        ("sql", "--tenant", "acme", "SELECT count(*) FROM audit_events WHERE message = '{}'"),
    ],
)
def test_free_text_is_stored_without_its_secrets(
    data_dir: Path, secret: str, command: tuple[str, ...]
) -> None:
    assert call(data_dir, *(part.format(secret) for part in command)) == 0
    assert find_bytes(data_dir, [secret.encode()]) == []


@pytest.mark.parametrize(
    "command",
    [
        ("hold", "add", "--tenant", "acme", "--name", "new", "--reason", "x", "--q", "it was {}"),
        ("hold", "add", "--tenant", "acme", "--name", "new", "--reason", "x", "--user", "{}"),
        ("hold", "add", "--tenant", "acme", "--name", "new", "--reason", "x", "--not-action", "{}"),
        ("hold", "add", "--tenant", "acme", "--name", "{}", "--reason", "x"),
        ("tenant", "add", "{}"),
        ("tenant", "add", "globex", "--alias", "{}"),
        ("token", "create", "--org", "acme", "--role", "admin", "--user", "{}"),
        ("token", "create", "--org", "acme", "--role", "admin", "--user", "{}", "--console"),
    ],
)
def test_what_must_be_kept_as_typed_is_refused_when_it_is_a_secret(
    data_dir: Path, secret: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(data_dir, *(part.format(secret) for part in command)) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]*looks like a secret[^\n]*\nhint: [^\n]+\n", err)
    assert secret not in err
    assert find_bytes(data_dir, [secret.encode()]) == []


def test_a_hold_of_a_person_or_of_plain_words_is_no_secret(data_dir: Path) -> None:
    words = ("--q", "Quarterly report for ada@example.com", "--user", "ada@example.com")
    assert call(data_dir, "hold", "add", "--tenant", "acme", "--name", "a", "--reason", "x", *words) == 0
