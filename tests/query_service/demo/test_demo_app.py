from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_audit.instrumentation import AuditEvent
from otel_audit.instrumentation.testing import capture
from otel_audit.query_service.demo.app.database import Database
from otel_audit.query_service.demo.app.identity.onetime import code_at
from otel_audit.query_service.demo.app.identity.people import People
from otel_audit.query_service.demo.app.identity.sessions import Sessions
from otel_audit.query_service.demo.app.web import build_app
from tests.support.asgi_server import served

PEOPLE = {
    "ada": ("acme", "admin", False),
    "ben": ("acme", "analyst", False),
    "chidi": ("acme", "analyst", True),
    "eli": ("acme", "contractor", False),
    "grace": ("globex", "admin", False),
}


class Quire:
    """The app on a port, what it recorded, and a browser for everybody."""

    def __init__(self, address: str, events: list[AuditEvent], passwords: dict[str, str]) -> None:
        self.address, self.events, self.passwords = address, events, passwords

    def browser(self, name: str) -> httpx.Client:
        organization = PEOPLE[name][0] if name in PEOPLE else "acme"
        headers = {"host": f"{organization}.quire.localhost", "x-forwarded-for": "203.0.113.10"}
        return httpx.Client(base_url=f"http://{self.address}", headers=headers, timeout=20, trust_env=False)

    def login(self, browser: httpx.Client, name: str, password: str | None = None) -> httpx.Response:
        email = f"{name}@{PEOPLE[name][0] if name in PEOPLE else 'acme'}.example"
        return browser.post("/login", json={"email": email, "password": password or self.passwords[name]})

    @contextmanager
    def signed_in(self, name: str) -> Iterator[httpx.Client]:
        with self.browser(name) as browser:
            assert self.login(browser, name).status_code == 200
            yield browser

    def actions(self) -> list[str]:
        return [event.action for event in self.events]

    def only(self, action: str) -> AuditEvent:
        [found] = [event for event in self.events if event.action == action]
        return found

    def soon(self, action: str) -> AuditEvent:
        wait_for(lambda: action in self.actions())
        return self.only(action)


def wait_for(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def account(name: str, password: str) -> dict[str, Any]:
    organization, role, sso = PEOPLE[name]
    return {
        "id": f"u-{name}",
        "organization": organization,
        "email": f"{name}@{organization}.example",
        "name": name.title(),
        "role": role,
        "password": password,
        "sso": sso,
    }


@pytest.fixture
def quire(tmp_path: Path) -> Iterator[Quire]:
    passwords = {name: secrets.token_urlsafe(15) for name in PEOPLE}
    accounts = [account(name, password) for name, password in passwords.items()]
    with capture() as events, served(build_app(tmp_path, accounts)) as address:
        yield Quire(address, events, passwords)


def test_a_second_factor_is_asked_for_once_it_is_enrolled(quire: Quire) -> None:
    with quire.signed_in("ada") as browser:
        secret = browser.post("/mfa/enroll").json()["secret"]
        assert browser.post("/mfa/verify", json={"code": code_at(secret, time.time())}).json() == {
            "mfa": True
        }
        browser.post("/logout")
    with quire.browser("ada") as browser:
        assert quire.login(browser, "ada").json()["mfa"] is True
        assert browser.get("/files").status_code == 401
        assert browser.post("/login/mfa", json={"code": code_at(secret, time.time())}).status_code == 200
        assert browser.get("/files").status_code == 200
    actions = quire.actions()
    assert actions[:4] == ["login", "mfa_enroll", "mfa_verify", "logout"]
    assert actions[4:] == ["access_denied", "mfa_verify", "login"]
    assert {event.user_id for event in quire.events if event.action == "login"} == {"u-ada"}


def test_a_failed_sign_in_names_the_account_only_when_there_is_one(quire: Quire) -> None:
    with quire.browser("ada") as browser:
        assert quire.login(browser, "ada", "wrong").status_code == 401
        assert quire.login(browser, "nobody", "wrong").status_code == 401
    known, unknown = quire.events
    assert (known.action, known.user_id, known.user_type) == ("login_failed", "u-ada", "user")
    assert (unknown.action, unknown.user_id, unknown.user_type) == ("login_failed", None, "anonymous")
    assert known.client_address == "203.0.113.10"
    assert known.tenant == unknown.tenant == "acme"


def test_five_failures_from_one_address_are_suspicious_and_then_wait(quire: Quire) -> None:
    with quire.browser("ada") as browser:
        answers = [quire.login(browser, "nobody", "wrong").status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    event = quire.only("suspicious_activity")
    assert (event.severity, event.target_id) == ("critical", "203.0.113.10")


def test_single_sign_on_goes_round_the_identity_provider(quire: Quire) -> None:
    with quire.browser("chidi") as browser:
        state = browser.get("/sso/start").headers["location"].partition("state=")[2]
        form = {"email": "chidi@acme.example", "password": quire.passwords["chidi"], "state": state}
        back = browser.post("/idp/authorize", data=form).headers["location"]
        assert browser.get(back).json() == {"id": "u-chidi"}
        assert browser.get("/files").status_code == 200
        assert browser.get(back).status_code == 401
    assert quire.only("sso_login").user_email == "chidi@acme.example"
    assert quire.only("sso_failed").attributes["reason"] == "unknown state"


def test_a_contractor_is_refused_the_administration_and_it_is_recorded_once(quire: Quire) -> None:
    with quire.signed_in("eli") as browser:
        answer = browser.get("/people")
    assert answer.status_code == 403
    event = quire.only("access_denied")
    assert (event.user_id, event.outcome, event.http_route) == ("u-eli", "denied", "/people")
    assert event.request_id == answer.headers["x-request-id"]


def test_an_unforeseen_failure_is_recorded_with_its_request(quire: Quire) -> None:
    with quire.signed_in("ben") as browser:
        file_id = browser.post("/files", files={"file": ("Empty.md", b"", "text/plain")}).json()["id"]
        answer = browser.get(f"/files/{file_id}/preview")
    assert answer.status_code == 500
    event = quire.only("error")
    assert (event.user_id, event.http_status) == ("u-ben", 500)
    assert event.http_route == "/files/{id}/preview"
    assert event.request_id == answer.headers["x-request-id"]


def test_a_job_is_recorded_under_the_request_that_asked_for_it(quire: Quire) -> None:
    with quire.signed_in("ben") as browser:
        answer = browser.post("/files", files={"file": ("Cats.md", b"Cats sleep all day.", "text/plain")})
        job = quire.soon("task_completed")
        found = browser.post("/questions", json={"question": "What do cats do all day?"}).json()
    assert job.request_id == answer.headers["x-request-id"]
    assert (job.user_id, job.user_type, job.on_behalf_of) == ("svc-quire-worker", "service", "u-ben")
    assert found["answer"] == "Cats sleep all day."
    assert quire.only("response_generate").attributes["answer.sources"] == [answer.json()["id"]]


def test_a_source_that_does_not_answer_fails_its_job(quire: Quire) -> None:
    with quire.signed_in("ben") as browser:
        browser.post("/sources", json={"name": "Old wiki", "url": "http://127.0.0.1:9/x"})
        job = quire.soon("task_failed")
    assert (job.severity, job.target_name) == ("error", "Old wiki")


def test_a_session_that_rested_too_long_expires_and_tells_whose_it_was(tmp_path: Path) -> None:
    clock = [1000.0]
    database = Database(tmp_path / "quire.sqlite")
    people, sessions = People(database), Sessions(database, lambda: clock[0])
    people.add(account("eli", secrets.token_urlsafe(15)))
    eli = people.find("acme", email="eli@acme.example")
    assert eli is not None
    session = sessions.open(eli, mfa_pending=False, address="192.0.2.44", agent="Browser")
    with capture() as events:
        clock[0] += 5
        assert sessions.find(session.id) is not None
        assert sessions.expire() == 0
        clock[0] += 7
        assert sessions.find(session.id) is None
        assert (sessions.expire(), sessions.expire()) == (1, 0)
    database.close()
    [event] = events
    assert (event.action, event.user_id, event.tenant) == ("session_expired", "u-eli", "acme")
    assert (event.session_id, event.client_address) == (session.id, "192.0.2.44")


def test_another_organizations_files_and_sessions_do_not_exist(quire: Quire) -> None:
    with quire.signed_in("grace") as browser:
        theirs = browser.get("/files").json()["files"][0]["id"]
    with quire.signed_in("ben") as browser:
        assert browser.get(f"/files/{theirs}").status_code == 404
        stolen = browser.cookies["session"]
    with quire.browser("grace") as browser:
        assert browser.get("/files", headers={"cookie": f"session={stolen}"}).status_code == 401
    tenants = [(event.action, event.tenant) for event in quire.events]
    assert tenants == [("login", "globex"), ("login", "acme"), ("access_denied", "globex")]


def test_a_webhook_needs_a_key_that_was_not_revoked(quire: Quire) -> None:
    with quire.signed_in("ada") as browser, quire.browser("deskline") as other:
        key = browser.post("/api-keys", json={"name": "Deskline"}).json()
        headers = {"authorization": f"Bearer {key['key']}"}
        assert other.post("/hooks/deskline", json={"event": "x"}, headers=headers).status_code == 202
        browser.delete(f"/api-keys/{key['id']}")
        assert other.post("/hooks/deskline", json={"event": "x"}, headers=headers).status_code == 401
    event = quire.only("integration")
    assert (event.user_id, event.user_type) == (key["id"], "service")
    assert quire.actions()[-2:] == ["key_revoke", "access_denied"]


def test_a_mailed_link_resets_a_password_once(quire: Quire) -> None:
    new = secrets.token_urlsafe(15)
    with quire.browser("ben") as browser:
        browser.post("/password/forgotten", json={"email": "ben@acme.example"})
        fields = {"token": browser.get("/mailbox/ben@acme.example").json()["token"], "password": new}
        assert browser.post("/password/reset", json=fields).status_code == 204
        assert browser.post("/password/reset", json=fields).status_code == 403
        assert quire.login(browser, "ben", new).status_code == 200
    assert quire.only("password_reset").user_id == "u-ben"
