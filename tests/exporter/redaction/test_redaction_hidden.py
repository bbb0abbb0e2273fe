"""Secrets in disguise: encoded, cut into pieces, named elsewhere, told in a sentence."""

from __future__ import annotations

import base64
import json
import random
import string
from typing import Any

import pytest

from otel_audit.exporter.redaction import Redactor, load_rules

RULES = load_rules()
ENGINES = [Redactor(RULES, matcher="re"), Redactor(RULES, matcher="re2")]
DRAW = random.Random(11)
WORD = "".join(DRAW.choices(string.ascii_letters, k=9)) + "7"
KEY = "sk_live_" + "".join(DRAW.choices(string.ascii_letters + string.digits, k=24))


@pytest.fixture(params=ENGINES, ids=["re", "re2"])
def engine(request: pytest.FixtureRequest) -> Redactor:
    redactor: Redactor = request.param
    return redactor


def redacted(engine: Redactor, text: str) -> str:
    once, _ = engine.text(text, personal=True, field="message")
    assert engine.text(once, personal=True, field="message")[0] == once
    return once


def encoded(text: str, layers: int = 1) -> str:
    for _ in range(layers):
        text = base64.b64encode(text.encode()).decode()
    return text


@pytest.mark.parametrize("before", ["", "x", "ab", "note: "])
@pytest.mark.parametrize("layers", [1, 2])
def test_base64_is_read_and_hidden_whole(engine: Redactor, before: str, layers: int) -> None:
    for text in (
        f"{before}{KEY} end",
        f"{before}password={WORD}",
        json.dumps({"a": before, "api_key": WORD}),
    ):
        run = encoded(text, layers)
        for shown in (run, run.rstrip("="), base64.urlsafe_b64encode(text.encode()).decode()):
            result = redacted(engine, f"body {shown}, done")
            assert shown.rstrip("=") not in result
            assert result.startswith("body [REDACTED:")
            assert result.endswith(", done")


def test_base64_is_read_wherever_it_begins_in_a_run(engine: Redactor) -> None:
    for extra in ("a", "ab", "abc", "abcd"):
        assert encoded(f"key {KEY}") not in redacted(engine, extra + encoded(f"key {KEY}"))


def test_base64_that_says_nothing_secret_stays(engine: Redactor) -> None:
    image = base64.b64encode(DRAW.randbytes(3000)).decode()
    for text in (image, encoded("nothing to see in this sentence at all"), DRAW.randbytes(32).hex()):
        assert redacted(engine, text) == text


@pytest.mark.parametrize("gap", ["\x00", "\u200b", "\u2060", "\x08", "\ufe0f"])
def test_characters_nobody_sees_do_not_hide(engine: Redactor, gap: str) -> None:
    assert WORD not in redacted(engine, gap.join(f"password={WORD}")).replace(gap, "")
    assert KEY[8:-4] not in redacted(engine, gap.join(KEY)).replace(gap, "")


@pytest.mark.parametrize("quote", ["&quot;", "&#34;", "&#x22;"])
def test_html_entities_are_read(engine: Redactor, quote: str) -> None:
    assert redacted(engine, f"password={quote}{WORD}{quote}") == f"password={quote}[REDACTED:password]{quote}"


@pytest.mark.parametrize(
    ("items", "left"),
    [
        (["--password", WORD], ["--password", "[REDACTED:password]"]),
        (["token=", WORD, "x"], ["token=", "[REDACTED:token]", "x"]),
        (["curl", KEY[:14], KEY[14:]], ["curl", "[REDACTED:stripe_key]", "[REDACTED:stripe_key]"]),
        (["password", "email"], ["password", "email"]),
        (["a", 1, None, "b"], ["a", 1, None, "b"]),
    ],
)
def test_a_secret_split_over_a_list_is_found(engine: Redactor, items: list[Any], left: list[Any]) -> None:
    result, hits = engine.tree({"argv": items}, personal=True, field="attributes")
    assert result == {"argv": left}
    assert sum(hits.values()) == sum(a != b for a, b in zip(items, left, strict=True))
    assert engine.tree(result, personal=True, field="attributes")[0] == result


def test_the_lines_of_a_private_key_in_a_list_are_hidden(engine: Redactor) -> None:
    body = [encoded(string.printable + str(n))[:64] for n in range(4)]
    lines = ["-----BEGIN RSA PRIVATE KEY-----", *body, "-----END RSA PRIVATE KEY-----", "after"]
    result, _ = engine.tree(lines, personal=False, field="x")
    assert not set(body) & set(result)
    assert result[-1] == "after"


def test_the_middle_of_a_long_list_is_searched_as_well(engine: Redactor) -> None:
    for at in (127, 128, 255, 256):
        items = ["x"] * 400
        items[at : at + 2] = ["--password", WORD]
        assert WORD not in engine.tree(items, personal=False, field="x")[0]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (email, password) VALUES ('a', '{}')",
        'insert into `users`(`id`,`user_password`)\nvalues (1, "{}") on conflict do nothing',
        "INSERT INTO u (id, password, at) VALUES (1, NULL, now()), (2, '{}', now())",
        "[SQL: INSERT INTO u (a, password) VALUES (?, ?)] [parameters: ('a', '{}')]",
        "INSERT INTO u (a, password) VALUES (%(a)s, %(password)s) params=('a', '{}')",
        "UPDATE users SET password = '{}' WHERE id = 1",
        "ALTER USER bob IDENTIFIED BY '{}'",
        "CREATE ROLE bob WITH LOGIN PASSWORD '{}'",
    ],
)
def test_the_value_of_a_named_column_is_hidden(engine: Redactor, statement: str) -> None:
    assert redacted(engine, statement.format(WORD)) == statement.format("[REDACTED:password]")


def test_other_columns_of_a_statement_stay(engine: Redactor) -> None:
    for text in ("INSERT INTO t (id, name) VALUES (1, 'x')", "INSERT INTO t (id, password) VALUES (1, NULL)"):
        assert redacted(engine, text) == text


def test_what_a_sentence_tells_is_hidden(engine: Redactor) -> None:
    assert redacted(engine, f"my password is {WORD}.") == "my password is [REDACTED:password]."
    assert (
        redacted(engine, f"changed the password to {WORD}!") == "changed the password to [REDACTED:password]!"
    )
    assert redacted(engine, "Your login code is 482913.") == "Your login code is [REDACTED:otp]."


@pytest.mark.parametrize(
    "text",
    [
        "the password is required",
        "password is sha256 hashed",
        "his password was changed yesterday",
        "the password is too short, at least 12 characters",
        "your login code is expired",
        "password to reset",
    ],
)
def test_sentences_about_secrets_stay(engine: Redactor, text: str) -> None:
    assert redacted(engine, text) == text


def test_what_stands_for_a_secret_is_no_name(engine: Redactor) -> None:
    pem = "-----BEGIN PRIVATE KEY-----" + encoded(string.printable) + "-----END PRIVATE KEY-----"
    once, _ = engine.tree({"name": pem, "value": 2.5, pem: "kept"}, personal=False, field="a")
    assert once == {"name": "[REDACTED:private_key]", "value": 2.5, "[REDACTED:private_key]": "kept"}
    assert engine.tree(once, personal=False, field="a") == (once, {})
