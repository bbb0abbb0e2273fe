from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from otel_audit.query_service.auth.principal import InvalidGrant, Unauthenticated
from otel_audit.query_service.auth.signing_key import SigningKeyUnusable, load_signing_key
from otel_audit.query_service.auth.tokens import TokenService
from otel_audit.query_service.control.database import ControlUnavailable
from tests.support.control import Control
from tests.support.process import wait_for

REVOKE = """
import sys
from pathlib import Path
from otel_audit.query_service.auth.tokens import TokenService
from otel_audit.query_service.control.database import ControlDatabase
TokenService(ControlDatabase.open(Path(sys.argv[1])), Path(sys.argv[2])).revoke(sys.argv[3])
"""


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def claims_of(control: Control, **changed: Any) -> dict[str, Any]:
    """The claims of a token that was really issued, some changed; None removes one."""
    token = control.tokens.issue("acme", "ada@example.com", "admin")
    claims = jwt.decode(token, options={"verify_signature": False}) | changed
    return {name: value for name, value in claims.items() if value is not ...}


def test_a_token_says_who_and_for_how_long(tmp_path: Path) -> None:
    control = Control(tmp_path)
    principal = control.tokens.verify(control.tokens.issue("acme", "ada@example.com", "auditor", 60))
    assert (principal.user, principal.org, principal.role) == ("ada@example.com", "acme", "auditor")
    assert principal.credential == "token"
    assert principal.expires_at == control.clock() + 60
    listed = control.tokens.list()
    assert [t.id for t in listed] == [principal.credential_id]


def test_a_token_ends_at_its_second(tmp_path: Path) -> None:
    control = Control(tmp_path)
    token = control.tokens.issue("acme", "ada@example.com", "admin", 60)
    control.clock.seconds += 59.9
    control.tokens.verify(token)
    control.clock.seconds += 0.1
    with pytest.raises(Unauthenticated):
        control.tokens.verify(token)


def test_claims_with_the_right_key_are_believed_only_as_issued(tmp_path: Path) -> None:
    control = Control(tmp_path)
    key = load_signing_key(tmp_path / "keys" / "token.key")
    control.tokens.verify(jwt.encode(claims_of(control), key, algorithm="HS256"))
    changes: list[dict[str, Any]] = [
        {"iss": "someone"},
        {"aud": "someone"},
        {"aud": ["otel-audit", "someone"]},
        {"jti": "00000000-0000-7000-8000-000000000000"},
        {"jti": 7},
        {"sub": ["ada@example.com"]},
        {"role": "root"},
        {"role": "operator"},
        {"role": ["admin"]},
        {"org": None},
        {"org": 7},
        {"sub": ""},
        {"sub": "a b\n"},
        {"exp": control.clock() - 1},
        {"exp": True},
        {"exp": "9999999999"},
        {"exp": float("inf")},
        {"iat": control.clock() + 3600},
        *({name: ...} for name in ("iss", "aud", "sub", "role", "jti", "iat", "exp")),
    ]
    for changed in changes:
        payload = json.dumps(claims_of(control, **changed)).encode()
        with pytest.raises(Unauthenticated):
            control.tokens.verify(jwt.PyJWS().encode(payload, key, algorithm="HS256"))


def refused(tokens: TokenService, token: str) -> bool:
    try:
        tokens.verify(token)
    except Unauthenticated:
        return True
    return False


def unsigned(control: Control) -> str:
    return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims_of(control))}."


def alg_none_in_capitals(control: Control) -> str:
    return f"{encoded({'alg': 'NONE', 'typ': 'JWT'})}.{encoded(claims_of(control))}."


def another_key(control: Control) -> str:
    return jwt.encode(claims_of(control), os.urandom(32), algorithm="HS256")


def another_algorithm_of_the_same_key(control: Control) -> str:
    key = load_signing_key(control.data_dir / "keys" / "token.key")
    return jwt.encode(claims_of(control), key * 2, algorithm="HS512")


def a_key_that_the_header_points_to(control: Control) -> str:
    private = generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    headers = {"jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u", "kid": "../../dev/null"}
    return jwt.encode(claims_of(control), pem, algorithm="RS256", headers=headers)


def a_stripped_signature(control: Control) -> str:
    return control.tokens.issue("acme", "ada@example.com", "admin").rpartition(".")[0] + "."


def a_swapped_payload(control: Control) -> str:
    head, _, signature = control.tokens.issue("acme", "ada@example.com", "member").split(".")
    return f"{head}.{encoded(claims_of(control, role='admin'))}.{signature}"


def a_deeply_nested_header(control: Control) -> str:
    return base64.urlsafe_b64encode(b"[" * 2900).rstrip(b"=").decode() + ".e30.AA"


def a_huge_one(control: Control) -> str:
    return control.tokens.issue("acme", "ada@example.com", "admin") + "A" * 100_000


def no_token(control: Control) -> str:
    return "\udcff.é.\x00"


@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        alg_none_in_capitals,
        another_key,
        another_algorithm_of_the_same_key,
        a_key_that_the_header_points_to,
        a_stripped_signature,
        a_swapped_payload,
        a_deeply_nested_header,
        a_huge_one,
        no_token,
    ],
)
def test_a_forged_token_is_refused(tmp_path: Path, forge: Callable[[Control], str]) -> None:
    control = Control(tmp_path)
    with pytest.raises(Unauthenticated):
        control.tokens.verify(forge(control))


def test_a_revoked_token_is_refused_also_in_another_process(tmp_path: Path) -> None:
    control = Control(tmp_path)
    token, info = control.tokens.issue_with_id("acme", "ada@example.com", "admin")
    other = TokenService(control.db, tmp_path / "keys" / "token.key", control.clock)
    other.verify(token)
    key = str(tmp_path / "keys" / "token.key")
    subprocess.run([sys.executable, "-c", REVOKE, str(control.db.path), key, info.id], check=True, timeout=60)
    wait_for(lambda: refused(other, token), timeout_s=1)
    assert not control.tokens.revoke("00000000-0000-7000-8000-000000000000")


def test_a_revocation_that_cannot_be_looked_up_is_unavailable_not_unauthenticated(tmp_path: Path) -> None:
    control = Control(tmp_path)
    token = control.tokens.issue("acme", "ada@example.com", "admin")
    control.db.close()
    for path in tmp_path.glob("control.sqlite*"):
        path.unlink()
    control.db.path.mkdir()
    with pytest.raises(ControlUnavailable):
        control.tokens.verify(token)


@pytest.mark.parametrize(
    ("org", "user", "role", "ttl_s"),
    [
        (None, "ada@example.com", "admin", 60),
        ("acme", "ada@example.com", "operator", 60),
        ("acme", "ada@example.com", "root", 60),
        ("acme", "", "admin", 60),
        ("acme", "a b", "admin", 60),
        ("acme", "a\n", "admin", 60),
        ("acme", "a" * 255, "admin", 60),
        ("acme", "ada@example.com", "admin", 0),
        ("acme", "ada@example.com", "admin", 400 * 86_400),
    ],
)
def test_a_grant_that_nobody_may_have_is_refused(
    tmp_path: Path, org: str | None, user: str, role: str, ttl_s: float
) -> None:
    with pytest.raises(InvalidGrant):
        Control(tmp_path).tokens.issue(org, user, role, ttl_s)


def test_grants_are_recorded_without_the_token(tmp_path: Path) -> None:
    control = Control(tmp_path)
    token, info = control.tokens.issue_with_id("acme", "ada@example.com", "admin")
    control.tokens.revoke(info.id)
    control.tokens.issue(None, "os:root", "operator")
    granted, taken = control.recorded("acme")
    assert (granted.category, granted.action) == ("security", "permission_change")
    assert (granted.target_type, granted.target_id) == ("user", "ada@example.com")
    assert granted.changes == {"role": (None, "admin")}
    assert taken.changes == {"role": ("admin", None)}
    assert len(control.recorded("operator")) == 3
    assert all(token.rpartition(".")[2] not in str(row) for row in control.outbox.waiting(100))


def test_the_signing_key_is_private_and_made_once_by_many(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "token.key"
    code = "import sys; from pathlib import Path; from otel_audit.query_service.auth.signing_key import *; "
    code += "sys.stdout.write(load_signing_key(Path(sys.argv[1])).hex())"
    racing = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) for _ in range(4)
    ]
    keys = {process.communicate(timeout=60)[0] for process in racing}
    assert keys == {path.read_bytes().hex().encode()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_signing_key_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    load_signing_key(path)
    path.chmod(0o640)
    with pytest.raises(SigningKeyUnusable, match="others"):
        load_signing_key(path)
    path.chmod(0o600)
    path.write_bytes(b"")
    with pytest.raises(SigningKeyUnusable, match="32 bytes"):
        load_signing_key(path)
    (tmp_path / "elsewhere.key").write_bytes(os.urandom(32))
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.key")
    with pytest.raises(SigningKeyUnusable):
        load_signing_key(path)
