from __future__ import annotations

import json
import random
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.exporter.redaction import Redactor, load_rules
from otel_audit.exporter.redaction.policed import Policed, Redactors
from otel_audit.exporter.redaction.reasons import reasons
from otel_audit.exporter.redaction.tenant_policy import DEFAULT
from otel_audit.exporter.redaction.views import fold, views
from tests.support.redaction_corpus import INNOCENT_TEMPLATES, Corpus

RULES = load_rules()
RE = Redactor(RULES, matcher="re")
RE2 = Redactor(RULES, matcher="re2")
POLICED = Policed(DEFAULT, Redactors(RE, Redactor))
CANARY = "Zq7xW" + "v2Kp9"


def redact(text: str, personal: bool = True) -> str:
    return RE.text(text, personal=personal, field="message")[0]


@pytest.mark.parametrize(
    "template",
    [
        "password={}",
        "PASSWORD = '{}'",
        'passwd: "{}"',
        "secret={}&next=1",
        "https://app.example/login?user=bob&password={}&x=1",
        "https://app.example/cb#access_token={}",
        "client_secret%3D{}%26a=b",
        "pass%77ord={}",
        '{{"user": "bob", "password": "{}"}}',
        '{{"nested": {{"dbPassword": ["{}"]}}}}',
        'body: {{"user": "bob", "apiKey": "{}", "n": 1',
        '{{\\"password\\":\\"{}\\"}}',
        "{{'user': 'bob', 'password': '{}'}}",
        "{{'user': 'bob', 'password': b'{}'}}",
        "--client-secret {} --verbose",
        "--password={}",
        "<db:password>{}</db:password>",
        "export DB_PASSWORD={}",
        "user[password]={}",
        "x-api-key: {}",
        "Authorization: Bearer {}",
        "Authorization: Token {}",
        'Authorization: Digest username="bob", response="{}", nonce="{}"',
        "Cookie: theme=dark; sid={}; lang=de",
        "Set-Cookie: id={}; Path=/; HttpOnly",
        "redis://:{}@cache:6379/0",
        "ｐａｓｓｗｏｒｄ={}",
        "p\u200bass\u200dword={}",
        "pаsswоrd={}",
        "pass\\u0077ord={}",
        "ldap bind failed: password='{}' for cn=bob",
        "password => '{}'",
        "Passwort: {}",
        "ALTER USER bob WITH PASSWORD '{}';",
        "create user bob identified by '{}'",
        "otp code={}",
        '[{{"name": "password", "value": "{}"}}]',
        '[["Host", "x"], ["Authorization", "{}"]]',
    ],
)
def test_a_value_beside_a_sensitive_name_is_gone(template: str) -> None:
    text = template.replace("{}", CANARY).replace("{{", "{").replace("}}", "}")
    for engine in (RE, RE2):
        redacted, counts = engine.text(text, personal=False, field="message")
        assert CANARY not in redacted
        assert sum(counts.values()) == 1
        assert "[REDACTED:" in redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("password=hunter2, user=bob", "password=[REDACTED:password], user=bob"),
        ('{"a":1.50,"password":"x","b":[1e5]}', '{"a":1.50,"password":"[REDACTED:password]","b":[1e5]}'),
        ("mail bob@example.com.", "mail b•••@example.com."),
        ("4111 1111 1111 1111", "••••1111"),
        ("DE89 3704 0044 0532 0130 00 was paid", "DE••••3000 was paid"),
        ("+49 30 1234567", "+49•••67"),
        ("https://u:pw%40x@host/p", "https://u:[REDACTED:url_password]@host/p"),
        ("https://u:bob@example.com/p", "https://u:[REDACTED:url_password]@example.com/p"),
    ],
)
def test_what_surrounds_a_secret_stays(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_few_letters_whose_case_changes_like_dice_are_a_key() -> None:
    upper, lower = random.sample("BCDFGHJK", 5), random.sample("bcdfghjk", 5)
    value = ("".join(map("".join, zip(upper, lower, strict=True))) * 2)[:14]
    assert redact(f"acme_credential={value}") == "acme_credential=[REDACTED:secret_like]"
    camel = "acme_credential=assumeRoleIfAny"
    assert redact(camel) == camel


def test_api_keys_keep_their_prefix_and_last_four() -> None:
    key = "sk_live_" + "a8F2k9Lm3Qx7Tz5W" + "4242"
    assert redact(f"charged with {key}") == "charged with sk_live_…4242"
    assert redact(f"api_key={key}") == "api_key=sk_live_…4242"
    assert redact(f"password={key}") == "password=[REDACTED:password]"


def test_personal_rules_run_only_where_asked() -> None:
    text = "bob@example.com +49 30 1234567 4111111111111111"
    assert redact(text, personal=False) == text


def test_a_marker_of_no_known_rule_does_not_shelter_a_secret() -> None:
    assert CANARY not in redact(f"password=[REDACTED:{CANARY}]")


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "dbPassword", "db.password", "db_password", "DB-PASSWORD", "password_hash",
        "passwordConfirmation", "password2", "new_password", "userpassword", "apiKey", "X-Api-Key", "api_key",
        "APIKey", "accessToken", "refresh_token", "http.request.header.authorization", "Set-Cookie", "cookie",
        "client_secret", "clientSecret", "private_key", "otp", "loginOtp", "mfaCode", "user.token", "token",
        "session_cookie", "sessionId", "secret", "aws_secret_access_key", "ｐassword", "pass%77ord", "pwd",
        "pin",
    ],
)  # fmt: skip
def test_values_of_sensitive_names_are_dropped(name: str) -> None:
    for value in (CANARY, 123456, [CANARY], {"deep": {CANARY: 1}}):
        redacted, hits = RE.tree({"keep": 1, name: value}, personal=True, field="attributes")
        assert redacted["keep"] == 1
        assert str(redacted[name]).startswith("[REDACTED:")
        assert [(path, count) for (_, path), count in hits.items()] == [(f"attributes.{name}", 1)]


@pytest.mark.parametrize(
    "name",
    [
        "password_reset", "password.policy", "passwordChangedAt", "token_count", "max_tokens", "page_token",
        "input_tokens", "cookie_consent", "secretary", "authorization_type", "mapping", "session", "shipping",
        "authenticated", "key", "user.name", "pin_message", "secret_name", "api_key_id", "public_key",
    ],
)  # fmt: skip
def test_values_of_innocent_names_stay(name: str) -> None:
    tree = {name: "plain words", "list": [1, 2.5, None, True]}
    assert RE.tree(tree, personal=True, field="attributes") == (tree, {})


def test_a_change_of_a_password_loses_both_values() -> None:
    tree = {"password": {"before": "old" + CANARY, "after": CANARY}, "name": {"before": "a", "after": None}}
    redacted, hits = RE.tree(tree, personal=True, field="changes")
    assert redacted == {
        "password": {"before": "[REDACTED:password]", "after": "[REDACTED:password]"},
        "name": {"before": "a", "after": None},
    }
    assert hits == {("password", "changes.password.before"): 1, ("password", "changes.password.after"): 1}


@pytest.mark.parametrize("redactor", [RE, RE2])
@pytest.mark.parametrize(
    "shape",
    [
        '{{"acme_token": {{"before": "{0}", "after": "{1}"}}}}',
        '{{"acme_token": {{"before": null, "after": "{0}"}}, "other": {{"before": "{2}", "after": 1}}}}',
        '{{"acmeToken": ["{0}", "plain words", "{1}"]}}',
        '[{{"name": "acme_token", "value": "{0}"}}, {{"name": "cache_key", "value": "{2}"}}]',
        '{{"field": "acme-token", "old": "{0}", "new": ["{1}", "{2}"]}}',
    ],
)
def test_of_a_vague_name_random_values_go_wherever_they_stand_and_others_stay(
    redactor: Redactor, shape: str
) -> None:
    corpus = Corpus(11)
    one, two, innocent = map(corpus.expand, ("{A-Za-z0-9:24}", "{A-Za-z0-9:32}", "{uuid}"))
    marker = "[REDACTED:secret_like]"
    given, wanted = json.loads(shape.format(one, two, innocent)), shape.format(marker, marker, innocent)
    redacted, hits = redactor.tree(given, personal=True, field="changes")
    assert redacted == json.loads(wanted)
    assert sum(hits.values()) == wanted.count(marker)
    assert redactor.tree(redacted, personal=True, field="changes") == (redacted, {})


def test_names_and_paths_are_redacted_too() -> None:
    key = "ghp_" + "a8F2k9Lm3Qx7Tz5W" * 2 + "abcd"
    tree = {f"cache.{key}": "x", "list": [{"deep": f"see {key}"}]}
    redacted, hits = RE.tree(tree, personal=True, field="attributes")
    assert key not in json.dumps(redacted) + str(hits)
    assert redacted == {"cache.ghp_…abcd": "x", "list": [{"deep": "see ghp_…abcd"}]}
    assert set(hits) == {
        ("github_token", "attributes.cache.ghp_…abcd"),
        ("github_token", "attributes.list.deep"),
    }


def test_two_names_with_secrets_do_not_swallow_each_other() -> None:
    names = ["ghp_" + letter * 36 + "abcd" for letter in "xy"]
    redacted, _ = RE.tree({names[0]: 1, names[1]: 2}, personal=True, field="a")
    assert sorted(redacted.values()) == [1, 2]


def test_json_inside_strings_stays_json_and_keeps_repeated_names() -> None:
    text = json.dumps({"body": json.dumps({"password": CANARY, "n": 1}), "x": "é"}, ensure_ascii=False)
    document = json.loads(redact(text))
    assert json.loads(document["body"]) == {"password": "[REDACTED:password]", "n": 1}
    repeated = redact(f'{{"password":"{CANARY}","password":"{CANARY}2","ok":1}}')
    assert CANARY not in repeated
    assert json.loads(repeated)["ok"] == 1


def test_a_card_number_stored_as_a_number_is_masked() -> None:
    redacted, hits = RE.tree({"paid": 4111111111111111, "at": 1700000000000000000}, personal=True, field="a")
    assert redacted == {"paid": "••••1111", "at": 1700000000000000000}
    assert hits == {("card", "a.paid"): 1}


def test_a_tree_too_deep_loses_only_its_depth() -> None:
    tree: Any = CANARY
    for _ in range(200):
        tree = {"a": tree}
    redacted, hits = RE.tree({"deep": tree, "b": 1}, personal=True, field="x")
    assert redacted["b"] == 1
    assert CANARY not in str(redacted)
    assert [rule for rule, _ in hits] == ["engine_error"]


def test_a_failing_engine_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Redactor(RULES)
    monkeypatch.setattr(engine, "flat", lambda *a, **k: 1 / 0)
    assert engine.text("password=x", personal=True, field="m") == (
        "[REDACTED:engine_error]",
        {"engine_error": 1},
    )
    redacted, hits = engine.tree({"a": "password=x"}, personal=True, field="m")
    assert redacted == "[REDACTED:engine_error]"
    assert hits == {("engine_error", "m"): 1}


def test_lone_surrogates_become_writable() -> None:
    redacted = redact("password=x \ud800 bob")
    assert redacted == "password=[REDACTED:password] \ufffd bob"
    redacted.encode()


CORPUS = Corpus(seed=9)
PIECES = [example for rule in RULES.rules for example in (*rule.positive, *rule.negative)]
FRAGMENTS = st.one_of(
    st.sampled_from([*PIECES, *INNOCENT_TEMPLATES]).map(CORPUS.expand),
    st.sampled_from(
        ["password", "token", "=", ":", '"', "'", "\\", "{", "}", "[", "]", ",", "&", " ", "\n", "%", "%3D",
         "…", "[REDACTED:jwt]", "[REDACTED:password]", "•••@", "sk_live_…4242", "cookie",
         "://", "@", "eyJ", ".", "--"]
    ),
    st.text(max_size=8),
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=7).map("".join)


@settings(max_examples=250, deadline=None)
@given(TEXTS, st.booleans(), st.sampled_from(["", "url", "json"]))
def test_both_engines_agree_and_redacting_twice_changes_nothing(text: str, personal: bool, wrap: str) -> None:
    if wrap == "url":
        text = urllib.parse.quote(text)
    elif wrap == "json":
        text = json.dumps({"a": text, text: [text]}, ensure_ascii=len(text) % 2 == 0)
    once, counts = RE.text(text, personal=personal, field="m")
    assert RE2.text(text, personal=personal, field="m") == (once, counts)
    assert RE.text(once, personal=personal, field="m") == (once, {})
    assert counts["engine_error"] == 0
    if wrap == "json":
        json.loads(once)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_what_the_prefilter_lets_pass_holds_nothing(text: str) -> None:
    for personal in (False, True):
        for engine in (RE, RE2):
            assert engine.suspect(text, personal=personal) or not engine.hits(text, personal=personal)


NAMES = sorted({word for name in RULES.names for word in (*name.words, *name.exact)})
JOINTS = st.sampled_from(["", "_", "-", ".", " ", "[", "__"])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(NAMES), JOINTS, st.sampled_from(["", "db", "x", "user.", "é"]), JOINTS,
    st.sampled_from(["", "2", "_hash", "]", ".value", "_count", "Name"]), st.sampled_from([None, 1]),
    st.booleans(), st.sampled_from(["name", "pair", "sibling"]),
)  # fmt: skip
def test_the_text_of_a_json_document_tells_of_its_names(
    word: str,
    joint: str,
    before: str,
    inner: str,
    after: str,
    indent: int | None,
    ascii_only: bool,
    shape: str,
) -> None:
    joined = word.title().replace(" ", "") if joint == "[" else word.replace(" ", joint)
    name = before + inner + joined + after
    documents: dict[str, Any] = {
        "pair": [[name, CANARY]],
        "sibling": {"value": CANARY, "name": name},
    }
    document = documents.get(shape, {name: CANARY})
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    for raw in (text, json.dumps({"body": text}, ensure_ascii=ascii_only)):
        _, hits = RE.tree(json.loads(raw), personal=True, field="a")
        assert not hits or all(engine.suspect(raw, personal=False) for engine in (RE, RE2))


@given(st.text())
def test_views_map_every_character_back(text: str) -> None:
    for view in views(text):
        assert len(fold(view.text)) == len(view.text)
        assert view.span(0, len(view.text))[1] == len(text)


@pytest.mark.parametrize("example", PIECES)
def test_explain_names_the_rule_and_never_the_secret(example: str) -> None:
    text, parts = Corpus(seed=4).secrets(example)
    counted = {(rule, "message"): n for rule, n in RE.text(text, personal=True, field="message")[1].items()}
    found = reasons(POLICED, "message", text, counted)
    assert sum(counted.values()) == len(found)
    for item in found:
        assert item.span is None or text[slice(*item.span)] not in item.replacement
        told = str(item._replace(text=""))
        assert not any(part in told for part in parts if len(part) > 14)


def test_explain_tells_of_json_structure() -> None:
    document = {"password": {"is": "x"}}
    _, hits = RE.tree(document, personal=True, field="attributes")
    found = reasons(POLICED, "attributes", json.dumps(document), hits)
    assert [(item.rule, item.field, item.replacement) for item in found] == [
        ("password", "attributes.password", "[REDACTED:password]")
    ]


REPEATED = [
    "a", "1", "4", "@", "+1", "eyJ", "eyJa.", "-----BEGIN PRIVATE KEY", "-----BEGIN PRIVATE KEY-----",
    "password", "password=", "token:", "token: ", "://", "://a:", "a@", "@a.", "de12", "DE89 3704 ", "sk-",
    "sk-a", "xoxb-", "bearer ", "basic ", "%", "%41", "%25", "\\u0041", '"', "\\", "{", "[", '{"a":',
    "akia", "-", "\u200b", "é", "İ", "[REDACTED:jwt]", "4111 1111 1111 1112 ", "cookie: a",
    "authorization: ", "'", "sk_live_…", "password ", "=",
]  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED)
def test_no_repeated_input_is_lost_or_stalls(piece: str) -> None:
    text = piece * (12_000 // len(piece))
    for engine in (RE, RE2):
        redacted, counts = engine.text(text, personal=True, field="m")
        assert counts["engine_error"] == 0
        assert engine.text(redacted, personal=True, field="m")[0] == redacted
