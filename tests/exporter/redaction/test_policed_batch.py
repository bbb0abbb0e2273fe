"""A tenant's policy at work on a decoded batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.receiver.rows import with_ids
from otel_audit.exporter.redaction import Redactor, load_rules
from otel_audit.exporter.redaction.actions import TOKEN, token
from otel_audit.exporter.redaction.policed import rules_of
from otel_audit.exporter.redaction.tenant_policy import parse_policy
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.schema import RECEIVED
from tests.support.otlp_client import any_value, request
from tests.support.redaction_corpus import Corpus

RULES = load_rules()
ENGINE = Redactor(RULES, matcher="re2")
EMAIL = "ada@example.com"


def policed(folder: Path, text: str) -> BatchRedactor:
    policy = parse_policy(text)
    return BatchRedactor(ENGINE, Keyring(folder), lambda _: policy)


def one(redactor: BatchRedactor, **row: Any) -> dict[str, Any]:
    batch = pa.RecordBatch.from_pylist([dict.fromkeys(RECEIVED.names) | row], schema=RECEIVED)
    result: dict[str, Any] = redactor.apply(batch, "acme").to_pylist()[0]
    return result


def hits(row: dict[str, Any]) -> set[tuple[str, str, int]]:
    return {(hit["rule"], hit["field"], hit["count"]) for hit in row["redactions"]}


def test_identity_columns_are_masked_redacted_and_tokenised_and_evidence_says_so(tmp_path: Path) -> None:
    text = """
    [fields]
    user_id = "tokenise"
    on_behalf_of = "tokenise"
    user_email = "mask"
    user_name = "redact"
    client_address = "mask"
    """
    row = one(
        policed(tmp_path, text),
        user_id="Ada@Example.com",
        on_behalf_of=EMAIL,
        user_email=EMAIL,
        user_name="Ada",
        client_address="192.0.2.9",
    )
    key = Keyring(tmp_path).token_key("acme")
    assert row["user_id"] == row["on_behalf_of"] == token(EMAIL, 1, key.key)
    assert (row["user_email"], row["user_name"]) == ("a•••@example.com", "[REDACTED:policy]")
    assert row["client_address"] == "192.0.2.0/24"
    assert hits(row) == {
        ("policy_tokenise", "user_id", 1),
        ("policy_tokenise", "on_behalf_of", 1),
        ("policy_mask", "user_email", 1),
        ("policy_redact", "user_name", 1),
        ("policy_mask", "client_address", 1),
    }
    version = parse_policy(text).version
    assert row["policy_version"] == f"p1-{RULES.version}-{version}"


def test_free_text_may_keep_or_lose_personal_data(tmp_path: Path) -> None:
    redactor = policed(tmp_path, '[fields]\nmessage = "redact"\nuser_agent = "keep"\nhttp_route = "tokenise"')
    row = one(
        redactor,
        message=f"by {EMAIL}",
        user_agent=EMAIL,
        resource_name=f"for {EMAIL}",
        http_route=f"/{EMAIL}",
    )
    assert row["message"] == "by [REDACTED:email]"
    assert row["user_agent"] == EMAIL
    assert row["resource_name"] == "for a•••@example.com"
    assert TOKEN.fullmatch(row["http_route"])


def test_rules_and_classes_have_actions_and_the_stricter_one_counts(tmp_path: Path) -> None:
    card = Corpus(3).expand("{card}")
    text = f"{EMAIL} +49 30 1234567 {card} sk_live_" + "a8F2k9Lm3Qx7Tz5W4242"
    asked = '[rules]\nemail = "keep"\nphone = "redact"\n[classes]\ncredential = "redact"'
    row = one(policed(tmp_path, asked), message=text, attributes=json.dumps({"note": text}))
    expected = f"{EMAIL} [REDACTED:phone] ••••{card[-4:]} [REDACTED:stripe_key]"
    assert row["message"] == expected
    assert json.loads(row["attributes"]) == {"note": expected}
    strict = one(policed(tmp_path, '[fields]\nmessage = "redact"\n[rules]\nphone = "mask"'), message=text)
    assert "[REDACTED:phone]" in strict["message"]
    assert "[REDACTED:email]" in strict["message"]


def test_a_rule_that_is_off_runs_where_a_policy_switches_it_on(tmp_path: Path) -> None:
    text = Corpus(9).expand("from 192.0.2.77")
    assert one(policed(tmp_path, ""), message=text)["message"] == text
    switched_on = one(
        policed(tmp_path, 'enable = ["ip_address"]\n[rules]\nip_address = "redact"'), message=text
    )
    assert switched_on["message"] == "from [REDACTED:ip_address]"
    assert switched_on["policy_version"].split("-")[1] != RULES.version


def test_a_rule_that_is_kept_off_leaves_its_old_markers_alone() -> None:
    kept = rules_of(parse_policy('[rules]\nemail = "keep"'), RULES)
    assert "email" not in {rule.id for rule in kept.rules}
    assert kept.ids == RULES.ids


def test_secrets_go_whatever_the_policy_says(tmp_path: Path) -> None:
    jwt, key = Corpus(5).expand("{jwt}"), "sk_live_" + "a8F2k9Lm3Qx7Tz5W" + "4242"
    for action in ("keep", "mask", "redact", "tokenise"):
        columns = "\n".join(
            f'{name} = "{action}"' for name in ("user_id", "resource_id", "message", "user_name")
        )
        paths = "\n".join(
            f'"attributes.{name}" = "{action}"' for name in ("password", "token", "note", "pair.value")
        )
        row = one(
            policed(tmp_path, f"[fields]\n{columns}\n{paths}"),
            user_id=key, resource_id=jwt, message=f"login with password=hunter2secret {jwt}",
            user_name=f"ada {jwt}",
            attributes=json.dumps(
                {"password": "hunter2secret", "token": {"value": "hunter2secret"}, "note": f"x {key}",
                 "pair": {"name": "password", "value": "hunter2secret"}}
            ),
        )  # fmt: skip
        assert not [secret for secret in (key, jwt, "hunter2secret") if secret in str(row)]
        assert row["resource_id"] == "[REDACTED:jwt]"
        stored = json.loads(row["attributes"])
        assert stored["password"] == stored["pair"]["value"] == "[REDACTED:password]"
        if action == "tokenise":
            # Nothing is hashed that may be a part of a secret.
            assert row["user_name"] == row["user_id"] == row["message"] == "[REDACTED:policy]"
            assert "tok_" not in str(row)


def test_paths_choose_values_in_json_and_the_rest_is_redacted_as_ever(tmp_path: Path) -> None:
    text = """
    [fields]
    "attributes.customer.name" = "mask"
    "attributes.customer.email" = "tokenise"
    "attributes.customer" = "redact"
    "attributes.contact" = "keep"
    "attributes.address" = "redact"
    "changes.email" = "tokenise"
    "changes.salary" = "redact"
    "otel_resource.host.name" = "mask"
    """
    row = one(
        policed(tmp_path, text),
        attributes=json.dumps(
            {
                "customer.name": "Ada",
                "customer": {"email": [EMAIL], "name": "Ada", "street": "Elm", "none": None},
                "contact": f"ask {EMAIL}", "other": f"ask {EMAIL}",
                "address": {"street": "Elm", "zip": 12345}, "n": 1.50,
            }
        ).replace("1.5}", "1.50}"),
        changes=json.dumps(
            {"email": {"before": None, "after": EMAIL}, "salary": {"before": 100, "after": 200}}
        ),
        otel_resource=json.dumps({"host.name": "build-7", "os": "linux"}),
    )  # fmt: skip
    made = token(EMAIL, 1, Keyring(tmp_path).token_key("acme").key)
    assert row["attributes"] == (
        '{"customer.name":"A•••","customer":{"email":["' + made + '"],"name":"A•••",'
        '"street":"[REDACTED:policy]","none":null},"contact":"ask ada@example.com",'
        '"other":"ask a•••@example.com","address":"[REDACTED:policy]","n":1.50}'
    )
    assert json.loads(row["changes"]) == {
        "email": {"before": None, "after": made},
        "salary": {"before": "[REDACTED:policy]", "after": "[REDACTED:policy]"},
    }
    assert json.loads(row["otel_resource"]) == {"host.name": "b•••", "os": "linux"}
    assert hits(row) == {
        ("policy_mask", "attributes.customer.name", 2),
        ("policy_tokenise", "attributes.customer.email", 1),
        ("policy_redact", "attributes.customer.street", 1),
        ("policy_redact", "attributes.address", 1),
        ("email", "attributes.other", 1),
        ("policy_tokenise", "changes.email.after", 1),
        ("policy_redact", "changes.salary.before", 1),
        ("policy_redact", "changes.salary.after", 1),
        ("policy_mask", "otel_resource.host.name", 1),
    }


def test_fields_inside_a_changed_object_are_found_before_and_after(tmp_path: Path) -> None:
    redactor = policed(
        tmp_path, '[fields]\n"changes.address.street" = "redact"\n"changes.name.after" = "mask"'
    )
    change = {"address": {"before": {"street": "Elm", "zip": "1"}, "after": {"street": "Oak"}}}
    change["name"] = {"before": {"x": "Ada"}, "after": {"x": "Bob"}}
    stored = json.loads(one(redactor, changes=json.dumps(change))["changes"])
    hidden = {"street": "[REDACTED:policy]"}
    assert stored["address"] == {"before": hidden | {"zip": "1"}, "after": hidden}
    assert stored["name"] == {"before": {"x": "Ada"}, "after": {"x": "B•••"}}


def test_documents_without_the_named_paths_stay_as_they_were(tmp_path: Path) -> None:
    innocent = '{ "z": 1.10, "a": "é", "n": [null, 1e3] }'
    row = one(policed(tmp_path, '[fields]\n"attributes.b" = "redact"'), attributes=innocent)
    assert row["attributes"] == innocent
    assert row["redactions"] == []


def test_a_document_that_cannot_be_read_hides_all_of_it_when_paths_are_named(tmp_path: Path) -> None:
    broken = '{"note": "Ada", "street": '
    row = one(policed(tmp_path, '[fields]\n"attributes.street" = "mask"'), attributes=broken)
    assert json.loads(row["attributes"]) == {"invalid_json": "[REDACTED:policy]"}
    assert hits(row) == {("policy_redact", "attributes", 1)}
    row = one(policed(tmp_path, '[fields]\n"attributes.street" = "keep"'), attributes=broken)
    assert json.loads(row["attributes"]) == {"invalid_json": broken}


def test_what_did_not_fit_a_column_is_treated_as_the_column(tmp_path: Path) -> None:
    text = """
    [fields]
    user_id = "tokenise"
    user_email = "redact"
    client_address = "mask"
    resource_id = "keep"
    """
    attributes = [
        KeyValue(key="audit.actor.id", value=any_value("u-1")),
        KeyValue(key="user.id", value=any_value("u-2")),
        KeyValue(key="user.email", value=any_value([EMAIL, "bob@example.com"])),
        KeyValue(key="client", value=any_value({"address": "192.0.2.7"})),
        KeyValue(key="audit.target.id", value=any_value(["t-1"])),
    ]
    sent = request([LogRecord(attributes=attributes)], enduser__id="u-3")
    stored = policed(tmp_path, text).apply(with_ids(decode(sent, 10**18)), "acme").to_pylist()[0]
    key = Keyring(tmp_path).token_key("acme").key
    assert stored["user_id"] == token("u-1", 1, key)
    kept = json.loads(stored["attributes"])
    assert kept["user.id"] == token("u-2", 1, key)
    assert kept["user.email"] == ["[REDACTED:policy]", "[REDACTED:policy]"]
    assert kept["client"] == {"address": "192.0.2.0/24"}
    assert kept["audit.target.id"] == ["t-1"]
    assert json.loads(stored["otel_resource"])["enduser.id"] == token("u-3", 1, key)


def test_a_change_that_is_no_two_maps_is_hidden_when_fields_of_changes_are_named(tmp_path: Path) -> None:
    attributes = [
        KeyValue(key="audit.change.before", value=any_value("Ada moved")),
        KeyValue(key="audit.change.after", value=any_value({"email": EMAIL})),
    ]
    sent = with_ids(decode(request([LogRecord(attributes=attributes)]), 10**18))
    for action, kept in (("mask", "[REDACTED:policy]"), ("keep", "Ada moved")):
        redactor = policed(tmp_path, f'[fields]\n"changes.email" = "{action}"')
        stored = redactor.apply(sent, "acme").to_pylist()[0]
        assert json.loads(stored["attributes"])["audit.change.before"] == kept
        assert EMAIL not in stored["attributes"]


def test_a_named_value_is_found_however_its_name_is_written(tmp_path: Path) -> None:
    redactor = policed(tmp_path, '[fields]\n"attributes.a/b.c" = "redact"\n"attributes.é" = "redact"')
    for document in (
        '{"a/b.c": "Ada"}',
        '{"a\\/b": {"c": "Ada"}}',
        '{"\\u0061/b.c": "Ada"}',
        '{"\\u00e9": "Ada"}',
    ):
        assert "Ada" not in one(redactor, attributes=document)["attributes"]


def test_what_a_search_or_hold_was_for_follows_the_column_it_quotes(tmp_path: Path) -> None:
    asked = {"otel_audit.filters": {"user": ["u-42"], "ip": ["192.0.2.9"], "category": ["security"]}}
    redactor = policed(tmp_path, '[fields]\nuser_id = "tokenise"\nclient_address = "mask"')
    held = json.dumps({"filters": {"before": None, "after": {"user": ["u-42"], "action": ["read"]}}})
    row = one(redactor, attributes=json.dumps(asked), changes=held)
    made = token("u-42", 1, Keyring(tmp_path).token_key("acme").key)
    assert json.loads(row["attributes"]) == {
        "otel_audit.filters": {"user": [made], "ip": ["192.0.2.0/24"], "category": ["security"]}
    }
    assert json.loads(row["changes"])["filters"]["after"] == {"user": [made], "action": ["read"]}


def test_an_unknown_users_name_is_hidden_before_the_policy_sees_it(tmp_path: Path) -> None:
    redactor = policed(tmp_path, '[fields]\nuser_email = "tokenise"\nuser_name = "mask"')
    row = one(redactor, action="login_failed", user_email="hunter2secret", user_name="hunter3secret")
    assert row["user_email"].startswith("[UNKNOWN_USER:")
    assert row["user_name"].startswith("[UNKNOWN_USER:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.sampled_from([EMAIL, "Ada", "", "x=1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "a.b", "before", "after", "password"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    document=st.dictionaries(st.sampled_from(["a", "b", "a.b", "c"]), JSON, max_size=4),
    actions=st.dictionaries(
        st.sampled_from(["a", "a.b", "b", "a.a", "b.a.b"]),
        st.sampled_from(["keep", "mask", "redact", "tokenise"]),
    ),
)
def test_redacting_twice_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, document: Any, actions: dict[str, str]
) -> None:
    fields = {f"attributes.{name}": action for name, action in actions.items()}
    redactor = policed(tmp_path_factory.getbasetemp(), json.dumps({"fields": fields}))
    once = one(redactor, attributes=json.dumps(document))
    twice = one(redactor, attributes=once["attributes"])
    assert twice["attributes"] == once["attributes"]
    assert list(json.loads(once["attributes"])) == list(document)


def hidden_by_default(text: str, parts: list[str]) -> tuple[str, list[str]]:
    """A text and what of its made-up parts the rules hide; others are accounts and hosts."""
    shown = ENGINE.text(text, personal=False, field="user_id")[0]
    return text, [part for part in parts if part not in shown]


@pytest.mark.parametrize("action", ["keep", "mask", "redact", "tokenise"])
def test_no_policy_lets_a_secret_of_any_rule_through(tmp_path: Path, action: str) -> None:
    columns = ("user_id", "user_name", "client_address", "resource_id", "message", "user_agent")
    fields = dict.fromkeys((*columns, "attributes.note", "attributes.deep.er", "changes.field"), action)
    redactor = policed(tmp_path, json.dumps({"fields": fields}))
    corpus, texts = Corpus(11), list[tuple[str, list[str]]]()
    for rule in RULES.rules:
        if rule.rule_class != "personal":
            texts += [hidden_by_default(*corpus.secrets(template)) for template in rule.positive]
    rows = []
    for text, _ in texts:
        document = {"note": text, "deep": {"er": [text]}}
        change = json.dumps({"field": {"before": text, "after": None}})
        row = dict.fromkeys(columns, text) | {"attributes": json.dumps(document), "changes": change}
        rows.append(dict.fromkeys(RECEIVED.names) | row)
    done = redactor.apply(pa.RecordBatch.from_pylist(rows, schema=RECEIVED), "acme").to_pylist()
    assert len(done) == len(texts) > 40
    for (_, hidden), stored in zip(texts, done, strict=True):
        said = json.dumps(stored, default=str, ensure_ascii=False)
        assert not [secret for secret in hidden if secret in said]
        # What is hashed may be a secret; a guess of it could be checked with the key.
        assert not hidden or "tok_" not in said
    assert sum(bool(hidden) for _, hidden in texts) > 0.9 * len(texts)
