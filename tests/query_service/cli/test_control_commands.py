from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_audit.query_service.auth.tickets import TicketService
from otel_audit.query_service.auth.tokens import TokenService
from otel_audit.query_service.cli.main import COMMANDS, run
from otel_audit.query_service.control.database import ControlDatabase
from tests.support import process


def call(capsys: pytest.CaptureFixture[str], data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command in this process."""
    code = run([*arguments, "--data-dir", str(data_dir)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_real_command_adds_a_tenant_and_prints_a_key_alone(tmp_path: Path) -> None:
    process.run(tmp_path / "d", "tenant", "add", "acme", "--alias", "ACME Ltd")
    created = process.run(tmp_path / "d", "key", "create", "--tenant", "acme", "--name", "web")
    assert re.fullmatch(r"oak_[0-9a-z]{12}_[0-9A-Za-z]{43}\n", created.stdout)
    assert created.stderr == ""


def test_tenants_are_shown_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, tmp_path, "tenant", "add", "acme", "--retention", "standard=1y", "--export-rate", "5/h")
    code, out, _ = call(capsys, tmp_path, "tenant", "show", "acme", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["retention"] == {"rag": 3, "standard": 12}
    assert shown["export_rate"] == "5/h"
    listed = json.loads(call(capsys, tmp_path, "tenant", "list", "--json")[1])
    assert [item["id"] for item in listed] == ["acme", "operator"]
    assert listed[0] == shown


def test_a_shorter_retention_waits_and_is_shown_with_its_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, tmp_path, "tenant", "add", "acme")
    code, out, err = call(capsys, tmp_path, "tenant", "set", "acme", "--retention", "standard=1mo")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: [^\n]+\nhint: [^\n]*--reason[^\n]*\n", err)
    code, out, _ = call(
        capsys, tmp_path, "tenant", "set", "acme", "--retention", "standard=1mo", "--reason", "cost", "--json"
    )
    changed = json.loads(out)
    assert code == 0
    assert changed["retention"]["standard"] == 6
    assert changed["retention_pending"]["standard"]["months"] == 1


def test_key_and_token_lists_never_show_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, tmp_path, "tenant", "add", "acme")
    key = json.loads(call(capsys, tmp_path, "key", "create", "--tenant", "acme", "--json")[1])
    rotated = call(capsys, tmp_path, "key", "rotate", key["key_id"], "--overlap", "1d")[1].strip()
    login = ("token", "create", "--org", "acme", "--user", "ada@example.com", "--role", "admin")
    token = call(capsys, tmp_path, *login)[1].strip()
    url = call(capsys, tmp_path, *login, "--console")[1].strip()
    secrets = [key["key"].rsplit("_", 1)[1], rotated.rsplit("_", 1)[1], token, url.rsplit("=", 1)[1]]
    for command in (
        ("key", "list"),
        ("key", "list", "--json"),
        ("token", "list"),
        ("token", "list", "--json"),
    ):
        code, out, err = call(capsys, tmp_path, *command)
        assert code == 0
        assert not [secret for secret in secrets if secret in out + err]
    assert [item["kind"] for item in json.loads(call(capsys, tmp_path, "token", "list", "--json")[1])] == [
        "token",
        "login_link",
    ]


def test_a_revoked_key_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, tmp_path, "tenant", "add", "acme")
    key = json.loads(call(capsys, tmp_path, "key", "create", "--tenant", "acme", "--json")[1])
    code, out, _ = call(capsys, tmp_path, "key", "revoke", key["key_id"], "--compromised")
    assert (code, out) == (0, f"key {key['key_id']} is compromised\n")
    code, _, err = call(capsys, tmp_path, "key", "revoke", key["key"])
    assert code == 1
    assert key["key"].rsplit("_", 1)[1] not in err


def test_a_login_link_leads_to_the_running_server_and_works_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, tmp_path, "tenant", "add", "acme")
    login = ("token", "create", "--org", "acme", "--user", "ada@example.com", "--role", "admin", "--console")
    assert call(capsys, tmp_path, *login)[1].startswith("http://127.0.0.1:8080/login?ticket=")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "serve.json").write_text(json.dumps({"http": "0.0.0.0:8099"}))
    code, out, _ = call(capsys, tmp_path, *login, "--ttl", "5m")
    url = urlsplit(out.strip())
    assert (code, url.netloc, url.path) == (0, "127.0.0.1:8099", "/login")
    database = ControlDatabase.open(tmp_path / "control.sqlite")
    principal = TicketService(database).redeem(parse_qs(url.query)["ticket"][0])
    assert (principal.user, principal.org, principal.role) == ("ada@example.com", "acme", "admin")


def test_a_public_url_leads_before_the_address_of_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_AUDIT__HTTP__PUBLIC_URL", "https://audit.example.com")
    code, out, _ = call(capsys, tmp_path, "token", "create", "--operator", "--console")
    assert code == 0
    assert out.startswith("https://audit.example.com/login?ticket=")


def test_an_operators_token_has_no_organization(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = call(capsys, tmp_path, "token", "create", "--operator")[1].strip()
    database = ControlDatabase.open(tmp_path / "control.sqlite")
    principal = TokenService(database, tmp_path / "keys" / "token.key").verify(token)
    assert (principal.org, principal.role) == (None, "operator")
    assert principal.user.startswith("os:")


def test_a_revoked_token_no_longer_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    created = json.loads(call(capsys, tmp_path, "token", "create", "--operator", "--json")[1])
    assert call(capsys, tmp_path, "token", "revoke", created["id"])[0] == 0
    assert json.loads(call(capsys, tmp_path, "token", "list", "--json")[1])[0]["status"] == "revoked"
    assert call(capsys, tmp_path, "token", "revoke", "nothing")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "add"],
        ["tenant", "set", "acme"],
        ["tenant", "add", "acme", "--colour", "red"],
        ["key", "create"],
        ["key", "create", "--tenant", "acme", "--all-tenants"],
        ["key", "create", "--tenant", "acme", "--create-tenants"],
        ["key", "create", "--tenant", "acme", "--expires", "soon"],
        ["key", "create", "--tenant", "acme", "--expires", "99999d"],
        ["token", "create"],
        ["token", "create", "--org", "acme", "--user", "a@b", "--role", "root"],
        ["token", "create", "--org", "operator", "--user", "a@b", "--role", "admin"],
        ["token", "create", "--operator", "--org", "acme"],
        ["bogus"],
        ["tenant", "bogus"],
    ],
)
def test_wrong_use_exits_2_with_one_line_and_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    ControlDatabase.open(tmp_path / "control.sqlite").close()
    code, out, err = call(capsys, tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\nhint: see 'otel-audit[^\n]*--help'\n", err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "../evil"],
        ["add", "Acme"],
        ["add", "acme", "--region", "*"],
        ["add", "acme", "--alias", " "],
        ["add", "acme", "--export-rate", "often"],
    ],
)
def test_a_setting_no_organization_can_have_is_wrong_use_and_names_what_would_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = call(capsys, tmp_path, "tenant", *arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\nhint: [^\n]+\n", err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "show", "nobody"],
        ["key", "create", "--tenant", "nobody"],
        ["key", "rotate", "nothing"],
        ["token", "create", "--org", "nobody", "--user", "a@b", "--role", "admin"],
        ["token", "create", "--org", "nobody\x1b[31m\n", "--user", "a@b", "--role", "admin"],
    ],
)
def test_a_failure_exits_1_with_one_line_and_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    ControlDatabase.open(tmp_path / "control.sqlite").close()
    code, out, err = call(capsys, tmp_path, *arguments)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: [^\n\x1b]+\nhint: [^\n\x1b]+\n", err)


def test_a_command_that_reads_makes_nothing_in_a_mistyped_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (
        ("tenant", "list"),
        ("key", "list"),
        ("token", "list"),
        ("tenant", "set", "a", "--alias", "b"),
    ):
        code, _, err = call(capsys, tmp_path / "typo", *command)
        assert code == 1
        assert "no control database" in err
    assert list(tmp_path.iterdir()) == []


def test_the_data_directory_is_taken_before_and_after_the_command_and_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_AUDIT_DATA_DIR", str(tmp_path / "environment"))
    assert run(["tenant", "add", "one"]) == 0
    assert run(["--data-dir", str(tmp_path / "before"), "tenant", "add", "one"]) == 0
    assert (
        run(
            [
                "--data-dir",
                str(tmp_path / "before"),
                "tenant",
                "--data-dir",
                str(tmp_path / "middle"),
                "add",
                "one",
            ]
        )
        == 0
    )
    assert (
        run(
            [
                "--data-dir",
                str(tmp_path / "before"),
                "tenant",
                "add",
                "two",
                "--data-dir",
                str(tmp_path / "after"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after", "before", "environment", "middle"]


def test_a_newer_database_is_refused_with_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ControlDatabase.open(tmp_path / "control.sqlite").close()
    with sqlite3.connect(tmp_path / "control.sqlite") as raw:
        raw.execute("UPDATE schema_version SET version = 99")
    raw.close()
    code, _, err = call(capsys, tmp_path, "tenant", "list")
    assert code == 1
    assert "schema 99" in err


def test_every_command_answers_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in ("tenant", "key", "token"):
        assert COMMANDS[command][1] in overview
        assert run([command, "--help"]) == 0
    for noun, verb in (("tenant", "add"), ("key", "rotate"), ("token", "create")):
        assert run([noun, verb, "--help"]) == 0
        assert "--data-dir" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    process.run(tmp_path / "d", "tenant", "add", "acme")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [process.OTEL_AUDIT, "tenant", "list", "--data-dir", str(tmp_path / "d")],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=process.environment(),
        timeout=60,
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_deletion_that_nobody_confirms_is_wrong_use_and_deletes_nothing(tmp_path: Path) -> None:
    process.run(tmp_path, "tenant", "add", "acme")
    asked = [process.OTEL_AUDIT, "tenant", "delete", "acme", "--data-dir", str(tmp_path)]
    done = subprocess.run(asked, input="", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--yes acme" in done.stderr
    assert process.run(tmp_path, "tenant", "show", "acme").returncode == 0
    done = subprocess.run(asked, input="acme\n", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0


def test_verify_of_an_organization_that_is_not_there_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, tmp_path, "tenant", "add", "acme")
    assert call(capsys, tmp_path, "verify", "--tenant", "acme")[0] == 0
    code, out, err = call(capsys, tmp_path, "verify", "--tenant", "amce")
    assert (code, out) == (1, "")
    assert "'amce'" in err
