from __future__ import annotations

import base64
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.query_service.cli.context import CliContext
from otel_audit.query_service.cli.demo import data_dir_of
from otel_audit.query_service.cli.main import cli
from otel_audit.query_service.demo.app.content.retrieval import Document, compose, retrieve
from otel_audit.query_service.demo.app.identity.attempts import Attempts
from otel_audit.query_service.demo.app.identity.onetime import code_at, verify_code
from otel_audit.query_service.demo.app.identity.passwords import hash_password, verify_password
from otel_audit.query_service.demo.driver import planted
from otel_audit.query_service.demo.driver.cast import cast
from otel_audit.query_service.demo.driver.scenarios import SCENARIOS
from otel_audit.query_service.demo.ports import free_addresses

LEASHED = """
import sys, time
from otel_audit.query_service.demo.leash import Leash
leash = Leash(sys.stdin.buffer)
print(leash.first_line().decode(), end="", flush=True)
leash.hold()
time.sleep(600)
"""


def test_one_time_codes_are_those_of_rfc_6238() -> None:
    secret = base64.b32encode(b"12345678901234567890").decode()
    assert [code_at(secret, at) for at in (59, 1111111109, 20000000000)] == ["287082", "081804", "353130"]
    assert verify_code(secret, "287082", 59 + 30)
    assert not verify_code(secret, "287082", 59 + 90)


def test_a_password_is_verified_against_its_salted_hash() -> None:
    word = planted.password()
    first, second = hash_password(word), hash_password(word)
    assert first != second
    assert verify_password(word, first)
    assert not verify_password(word + "x", second)


def test_attempts_are_counted_within_a_minute_and_for_each_address() -> None:
    clock = [0.0]
    attempts = Attempts(limit=2, now=lambda: clock[0])
    assert [attempts.failed("a"), attempts.failed("b"), attempts.failed("a")] == [1, 1, 2]
    assert not attempts.may_try("a")
    assert attempts.may_try("b")
    clock[0] = 61.0
    assert attempts.may_try("a")


def test_the_passage_with_more_of_the_rare_words_answers_alone() -> None:
    documents = [
        Document("file", "f-1", "Travel", "Refunds of trips take a week. Trains are preferred."),
        Document("file", "f-2", "Returns", "Refunds of goods are paid within fourteen days."),
    ]
    found = retrieve("When are refunds of goods paid?", documents)
    assert compose(found) == "Refunds of goods are paid within fourteen days."
    assert compose(retrieve("zebra?", documents)) == "Nothing in the documents answers this."
    assert {passage.document.id for passage in retrieve("refunds", documents)} == {"f-1", "f-2"}


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (planted.jwt, "jwt"),
        (planted.payment_key, "stripe_key"),
        (planted.card_number, "card"),
        (planted.customer_email, "email"),
    ],
)
def test_what_is_planted_is_what_redaction_finds(make: Callable[[], str], rule: str) -> None:
    redactor = Redactor(load_rules())
    for _ in range(50):
        secret = make()
        text, hits = redactor.text(f"see {secret} here", personal=True, field="question")
        assert secret not in text
        assert hits[rule] == 1


def test_everything_that_can_be_done_has_somebody_who_does_it() -> None:
    roles = {(person.role, person.sso) for person in cast() if person.organization == "acme"}
    for scenario in SCENARIOS:
        able = [role for role, sso in roles if role in scenario.roles and scenario.sso in (None, sso)]
        assert able, scenario.run.__name__


def test_passwords_of_the_cast_are_new_every_time_and_not_shown() -> None:
    first, second = cast()[0], cast()[0]
    assert first.password != second.password
    assert first.password not in repr(first)


def test_a_taken_port_gives_the_next_one_that_nobody_else_wants() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        wanted = {
            "otlp_grpc": f"127.0.0.1:{port}",
            "otlp_http": f"127.0.0.1:{port + 1}",
            "http": "127.0.0.1:0",
        }
        said: list[str] = []
        found = free_addresses(wanted, said.append)
    chosen = [int(address.rpartition(":")[2]) for address in found.values()]
    assert chosen[0] > port + 1
    assert len(set(chosen)) == 3
    assert chosen[2] == 0
    assert re.match(rf"Port {port} is taken; OTLP/gRPC is on port {chosen[0]} instead\.", said[0])


def test_a_leashed_process_ends_when_its_parents_pipe_does() -> None:
    command = [sys.executable, "-c", LEASHED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"hello\n"
        process.stdin.close()
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("before", "after", "folder"),
    [
        ([], [], "audit-data/demo"),
        ([], ["--data-dir", "here"], "here"),
        (["--data-dir", "here"], [], "here"),
        (["--data-dir", "audit-data"], [], "audit-data"),
        (["--data-dir", "there"], ["--data-dir", "here"], "here"),
    ],
)
def test_only_the_default_data_directory_gets_a_folder_for_the_demo(
    before: list[str], after: list[str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_AUDIT_DATA_DIR", raising=False)
    root = cli.make_context("otel-audit", [*before, "demo"])
    root.obj = CliContext(root.params["data_dir"])
    command = cli.get_command(root, "demo")
    assert command is not None
    assert data_dir_of(command.make_context("demo", after, parent=root)) == Path(folder)
