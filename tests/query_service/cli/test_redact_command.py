"""`otel-audit redact`: what would become of standard input, and why, without saying what is hidden."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import OTEL_AUDIT, environment, run
from tests.support.redaction_corpus import Corpus

POLICY = '[fields]\nuser_id = "tokenise"\n"changes.email" = "mask"\nclient_address = "redact"\n'


def redact(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OTEL_AUDIT, "redact", "--data-dir", str(folder / "data"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
    )


def explained(folder: Path, text: str, *arguments: str) -> dict[str, Any]:
    done = redact(folder, text, "--explain", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_text_says_which_rule_where_and_why_and_ends_with_the_redacted_text(tmp_path: Path) -> None:
    jwt = Corpus(7).expand("{jwt}")
    secret = "hunter" + "2secret"
    text = f"mail ada@example.com\n  password={secret} and %70assword%3D{secret} {jwt}\n"
    done = redact(tmp_path, text, "--explain")
    assert done.returncode == 0
    assert secret not in done.stdout
    assert jwt not in done.stdout
    assert done.stdout.splitlines() == [
        'email (personal) in message at 1:6-1:20: text "@", checked by email; becomes a•••@example.com',
        "password (secret) in message at 2:12-2:24: name `password`; becomes [REDACTED:password]",
        "password (secret) in message at 2:43-2:55: name `password`, after one layer of escapes; "
        "becomes [REDACTED:password]",
        f'jwt (secret) in message at 2:57-2:{56 + len(jwt)}: text "eyj", checked by jwt; '
        "becomes [REDACTED:jwt]",
        "",
        "mail a•••@example.com",
        "  password=[REDACTED:password] and %70assword%3D[REDACTED:password] [REDACTED:jwt]",
    ]
    assert redact(tmp_path, "all is well").stdout == "all is well"
    assert redact(tmp_path, "all is well", "--explain").stdout == "nothing would be changed\n\nall is well"


def test_events_are_read_a_line_each_and_names_and_policy_are_reasons(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    typed = "hunter" + "3secret"
    events = [
        {
            "category": "authentication",
            "action": "login_failed",
            "user_name": typed,
            "message": f"no {typed}",
        },
        {
            "category": "data_access",
            "user_id": "ada",
            "client_address": "192.0.2.7",
            "attributes": {"http.request.header.authorization": "Bearer x", "note": "to ada@example.com"},
            "changes": {"email": {"before": None, "after": "ada@example.com"}},
            "x.password": typed,
        },
    ]
    answer = explained(
        tmp_path, "".join(json.dumps(event) + "\n" for event in events), "--policy", str(policy)
    )
    assert typed not in str(answer)
    found = {(e["line"], e["rule"], e["field"]): e for e in answer["explanations"]}
    assert found[1, "unknown_user", "user_name"]["reason"] == "failed sign-in that names no account"
    authorization = found[2, "authorization", "attributes.http.request.header.authorization"]
    assert authorization["reason"] == "name `authorization`"
    assert found[2, "password", "attributes.x.password"]["reason"] == "name `password`"
    assert found[2, "email", "attributes.note"]["span"] == "1:4-1:18"
    assert found[2, "policy_tokenise", "user_id"]["reason"] == "the policy says tokenise"
    assert found[2, "policy_redact", "client_address"]["replacement"] == "[REDACTED:policy]"
    first, second = (json.loads(text) for text in answer["redacted"])
    assert first["message"] == f"no {first['user_name']}"
    assert second["user_id"].startswith("tok_1_")
    assert second["changes"]["email"] == {"before": None, "after": "a•••@example.com"}
    assert second["attributes"]["note"] == "to a•••@example.com"


def test_what_no_column_can_hold_is_not_shown_and_breaks_nothing(tmp_path: Path) -> None:
    hidden = "hunter" + "4secret"
    line = (
        '{"category": "security", "time": "2026-03-01T09:30:00Z", "seq": 7,'
        f' "message": "\\ud800 ada@example.com",'
        f' "user_name": {{"password": "{hidden}"}}, "received_time": "{hidden}", "session_id": "{hidden}",'
        ' "attributes": {"a\\ud800": "\\ud800"}, "user_roles": ["admin"]}\n'
    )
    done = redact(tmp_path, line)
    assert done.returncode == 0, done.stderr
    assert hidden not in done.stdout
    shown = json.loads(done.stdout)
    assert shown["message"] == "\ufffd a•••@example.com"
    assert shown["attributes"] == {"a\ufffd": "\ufffd"}
    assert (shown["time"], shown["user_roles"]) == ("2026-03-01T09:30:00Z", ["admin"])
    assert shown["session_id"].startswith("sh_")


def test_it_takes_an_organizations_own_policy_and_another_column(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[fields]\nmessage = "keep"\nuser_name = "mask"\n')
    run(tmp_path / "data", "tenant", "add", "acme", "--redaction", str(policy))
    assert redact(tmp_path, "ada@example.com", "--tenant", "acme").stdout == "ada@example.com"
    assert redact(tmp_path, "ada@example.com").stdout == "a•••@example.com"
    assert redact(tmp_path, "Ada", "--tenant", "acme", "--field", "user_name").stdout == "A•••"
    assert redact(tmp_path, '{"a": "x"}', "--field", "attributes").stdout == '{"a": "x"}'
    given = ("tenant", "set", "acme", "--redaction", "-", "--data-dir", str(tmp_path / "data"))
    subprocess.run([OTEL_AUDIT, *given], input='{"fields": {"message": "redact"}}', text=True, check=True)
    assert redact(tmp_path, "ada@example.com", "--tenant", "acme").stdout == "[REDACTED:email]"
    unknown = redact(tmp_path, "x", "--tenant", "nobody")
    assert unknown.returncode == 1
    assert "there is no organization" in unknown.stderr


def test_a_policy_file_is_checked_without_a_server(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    done = redact(tmp_path, "", "--check-policy", str(policy))
    assert (done.returncode, done.stdout[:12]) == (0, "ok, version ")
    policy.write_text('[fields]\ntrace_id = "redact"\n')
    done = redact(tmp_path, "", "--check-policy", str(policy))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: trace_id is needed as it is\nhint: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json",),
        ("--policy", "-"),
        ("--policy", "no-such-file"),
        ("--tenant", "a", "--policy", "b"),
        ("--field", "trace_id"),
    ],
)
def test_wrong_use_exits_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = redact(tmp_path, "x", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_more_than_it_looks_at_is_refused_and_more_than_it_tells_is_counted(tmp_path: Path) -> None:
    done = redact(tmp_path, "x" * ((4 << 20) + 1), "--explain")
    assert (done.returncode, done.stdout) == (1, "")
    assert "longer than 4 Mi characters" in done.stderr
    many = explained(tmp_path, "ada@example.com " * 1_100)
    assert (len(many["explanations"]), many["more"]) == (1_000, 100)
