from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from otel_audit.query_service.auth.principal import InvalidGrant, Unauthenticated
from tests.support.control import Control

REDEEM = """
import sys
from pathlib import Path
from otel_audit.query_service.auth.principal import Unauthenticated
from otel_audit.query_service.auth.tickets import TicketService
from otel_audit.query_service.control.database import ControlDatabase
service = TicketService(ControlDatabase.open(Path(sys.argv[1])), lambda: float(sys.argv[2]))
for ticket in sys.argv[3:]:
    try:
        service.redeem(ticket)
        print(ticket)
    except Unauthenticated:
        pass
"""


def test_a_ticket_logs_in_once(tmp_path: Path) -> None:
    control = Control(tmp_path)
    ticket = control.tickets.create("acme", "ada@example.com", "admin")
    principal = control.tickets.redeem(ticket)
    assert (principal.user, principal.org, principal.role) == ("ada@example.com", "acme", "admin")
    assert principal.credential == "ticket"
    with pytest.raises(Unauthenticated):
        control.tickets.redeem(ticket)


def test_a_ticket_ends_after_ten_minutes(tmp_path: Path) -> None:
    control = Control(tmp_path)
    in_time, late = (control.tickets.create("acme", "ada@example.com", "admin") for _ in range(2))
    control.clock.seconds += 599
    control.tickets.redeem(in_time)
    control.clock.seconds += 1
    with pytest.raises(Unauthenticated):
        control.tickets.redeem(late)


def test_of_many_threads_one_redeems(tmp_path: Path) -> None:
    control = Control(tmp_path)
    ticket = control.tickets.create("acme", "ada@example.com", "admin")
    barrier, outcomes = threading.Barrier(16), []

    def redeem() -> None:
        barrier.wait()
        try:
            outcomes.append(control.tickets.redeem(ticket).user)
        except Unauthenticated:
            outcomes.append("refused")

    threads = [threading.Thread(target=redeem) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ada@example.com", *["refused"] * 15]


def test_of_many_processes_one_redeems(tmp_path: Path) -> None:
    control = Control(tmp_path)
    tickets = [control.tickets.create("acme", "ada@example.com", "admin") for _ in range(20)]
    command = [sys.executable, "-c", REDEEM, str(control.db.path), str(control.clock()), *tickets]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    redeemed = [line for process in racing for line in process.communicate(timeout=60)[0].split()]
    assert sorted(redeemed) == sorted(tickets)


@pytest.mark.parametrize("guess", ["", "x", "\udcff", "A" * 1_000_000, "' OR 1=1 --"])
def test_a_guess_is_refused(tmp_path: Path, guess: str) -> None:
    control = Control(tmp_path)
    control.tickets.create("acme", "ada@example.com", "admin")
    with pytest.raises(Unauthenticated):
        control.tickets.redeem(guess)
    with pytest.raises(Unauthenticated):
        control.sessions.verify(guess)


def test_tickets_and_cookies_are_kept_as_hashes_only(tmp_path: Path) -> None:
    control = Control(tmp_path)
    ticket = control.tickets.create("acme", "ada@example.com", "admin")
    cookie = control.sessions.create(control.tickets.redeem(ticket))
    control.db.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert ticket.encode() not in kept
    assert cookie.encode() not in kept
    assert cookie != ticket


def test_a_session_lasts_eight_hours_and_nothing_prolongs_it(tmp_path: Path) -> None:
    control = Control(tmp_path)
    cookie = control.sessions.create(
        control.tickets.redeem(control.tickets.create("acme", "ada@example.com", "auditor"))
    )
    control.clock.seconds += 8 * 3600 - 1
    principal = control.sessions.verify(cookie)
    assert (principal.user, principal.role, principal.credential) == ("ada@example.com", "auditor", "session")
    control.clock.seconds += 1
    with pytest.raises(Unauthenticated):
        control.sessions.verify(cookie)


def test_a_session_ends_no_later_than_what_opened_it_allows(tmp_path: Path) -> None:
    control = Control(tmp_path)
    ticket = control.tickets.create("acme", "ada@example.com", "admin", session_ttl_s=300)
    cookie = control.sessions.create(control.tickets.redeem(ticket))
    assert control.sessions.verify(cookie).expires_at == control.clock() + 300
    token = control.tokens.verify(control.tokens.issue("acme", "ada@example.com", "admin", 60))
    control.clock.seconds += 61
    with pytest.raises(Unauthenticated):
        control.sessions.create(token)


def test_a_logout_ends_the_session_and_no_other(tmp_path: Path) -> None:
    control = Control(tmp_path)
    first, second = (
        control.sessions.create(
            control.tickets.redeem(control.tickets.create("acme", "ada@example.com", "admin"))
        )
        for _ in range(2)
    )
    control.sessions.end(first)
    control.sessions.end("unknown")
    control.sessions.verify(second)
    with pytest.raises(Unauthenticated):
        control.sessions.verify(first)


def test_revoking_a_ticket_or_token_ends_the_sessions_it_opened(tmp_path: Path) -> None:
    control = Control(tmp_path)
    ticket, info = control.tickets.create_with_id("acme", "ada@example.com", "admin")
    unused, unused_info = control.tickets.create_with_id("acme", "ada@example.com", "admin")
    token, token_info = control.tokens.issue_with_id("acme", "ada@example.com", "admin")
    cookies = [
        control.sessions.create(control.tickets.redeem(ticket)),
        control.sessions.create(control.tokens.verify(token)),
    ]
    assert control.tickets.revoke(info.id)
    assert control.tickets.revoke(unused_info.id)
    assert control.tokens.revoke(token_info.id)
    for cookie in cookies:
        with pytest.raises(Unauthenticated):
            control.sessions.verify(cookie)
    with pytest.raises(Unauthenticated):
        control.tickets.redeem(unused)
    assert not control.tickets.revoke("no-such-id")


@pytest.mark.parametrize(
    ("org", "role", "ttl_s"), [(None, "admin", 600), ("acme", "root", 600), ("acme", "admin", 9e9)]
)
def test_a_ticket_nobody_may_have_is_refused(
    tmp_path: Path, org: str | None, role: str, ttl_s: float
) -> None:
    with pytest.raises(InvalidGrant):
        Control(tmp_path).tickets.create(org, "ada@example.com", role, ttl_s)
