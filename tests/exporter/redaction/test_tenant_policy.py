"""Policies as data: what is accepted, what is refused and how the refusal helps."""

from __future__ import annotations

import json

import pytest

from otel_audit.exporter.redaction import policy as base
from otel_audit.exporter.redaction.actions import masked, normalised, token
from otel_audit.exporter.redaction.catalogue import catalogue
from otel_audit.exporter.redaction.tenant_policy import DEFAULT, Policy, PolicyError, parse_policy
from otel_audit.exporter.store.schema import COLUMN_NAMES

KEY = bytes(range(32))
TOML = """
[fields]
user_id = "tokenise"
attributes.customer.name = "redact"
"changes.email" = "mask"

[rules]
email = "redact"

[classes]
credential = "redact"
"""


def refused(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert caught.value.hint
    return caught.value


def test_toml_and_json_say_the_same_and_the_canonical_form_reads_back() -> None:
    policy = parse_policy(TOML)
    assert policy.as_dict() == {
        "fields": {"user_id": "tokenise", "attributes.customer.name": "redact", "changes.email": "mask"},
        "rules": {"email": "redact"},
        "classes": {"credential": "redact"},
    }
    assert parse_policy(json.dumps(policy.as_dict())) == policy == parse_policy(policy.to_json())
    assert len(policy.version) == 8
    assert policy.version != parse_policy('[fields]\nuser_id = "mask"').version


def test_an_empty_file_is_the_default_and_has_no_version() -> None:
    assert parse_policy("") == parse_policy("{}") == DEFAULT == Policy()
    assert DEFAULT.version == ""


def test_every_column_may_be_set_or_is_refused_with_a_reason() -> None:
    for column in COLUMN_NAMES:
        text = f'[fields]\n{column} = "redact"'
        if column in (*base.HIDEABLE_COLUMNS, *base.FREE_TEXT_COLUMNS, *base.JSON_TEXT_COLUMNS):
            assert parse_policy(text).of_column(column) == "redact"
        else:
            assert "needed as it is" in str(refused(text)) or "always hashed" in str(refused(text))


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ('[fields]\nuser_idd = "mask"', "there is no field 'user_idd'", "did you mean user_id"),
        ('[fields]\nuser_id = "tokenize"', "there is no action 'tokenize' for user_id", "tokenise"),
        ('[rules]\nemial = "redact"', "there is no rule 'emial'", "did you mean email"),
        ('[classes]\npersonnal = "redact"', "there is no class 'personnal'", "personal"),
        ('[field]\nuser_id = "mask"', "there is no part 'field'", "did you mean fields"),
        ('enable = ["no_such_rule"]', "there is no rule 'no_such_rule'", ""),
        ('enable = "us_ssn"', "enable is not a list of rule ids", "enable = ["),
        ('[rules]\njwt = "keep"', "jwt cannot be 'keep'", "redact"),
        ('[rules]\npassword = "mask"', "password cannot be 'mask'", "redact"),
        ('[rules]\nemail = "tokenise"', "email cannot be 'tokenise'", "keep or mask or redact"),
        ('[fields]\nattributes = "tokenise"', "attributes cannot be 'tokenise'", "attributes.email"),
        ('[fields]\nattributes.audit.tenant.claimed = "redact"', "the service's own", "follows"),
        ('[fields]\ntrace_id = "tokenise"', "trace_id is needed as it is", "search"),
        ('fields = "mask"', "fields is not a table", "[fields]"),
        ('{"fields": {"user_id": "mask", "user_id": "keep"}}', "'user_id' is given twice", "docs"),
        ('[fields]\n"changes.a.b" = "mask"\n[fields.changes.a]\nb = "keep"', "given twice", "one of the two"),
        ("not = [toml", "neither TOML nor JSON", "docs"),
        ("x" * 70_000, "too long", "64 KiB"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_near(text: str, problem: str, hint: str) -> None:
    error = refused(text)
    assert problem in error.message
    assert hint in error.hint


def test_a_policy_has_a_bounded_number_of_fields() -> None:
    lines = "\n".join(f'"attributes.a{number}" = "mask"' for number in range(201))
    assert "more than 200" in refused(f"[fields]\n{lines}").message


def test_the_catalogue_shows_every_rule_without_its_pattern() -> None:
    facts = {item.id: item for item in catalogue() if item.kind == "rule"}
    assert facts["email"].rule_class == "personal"
    assert facts["email"].enabled
    assert facts["email"].replacement == "mask_email"
    assert {item.id for item in catalogue() if item.kind == "name"} >= {"password", "cookie"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ada@example.com", "a•••@example.com"),
        ("a@example.com", "•••@example.com"),
        ("Ada Lovelace", "A•••"),
        ("x", "•••"),
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::9", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("12:34", "1•••"),
        ("", ""),
    ],
)
def test_masks_keep_what_investigations_need_and_masking_twice_changes_nothing(
    value: str, expected: str
) -> None:
    assert masked(value) == expected
    assert masked(expected) == expected


def test_tokens_are_the_same_for_every_spelling_and_differ_by_key() -> None:
    first = token("Ada@Example.com", 1, KEY)
    assert first == token(" ada@example.COM ", 1, KEY) == token("ａda@example.com", 1, KEY)
    assert first != token("ada@example.com", 2, bytes(32))
    assert token(first, 2, KEY) == first
    assert first.startswith("tok_1_")
    assert len(first) == 38
    assert normalised("::FFFF:192.0.2.7") == normalised("192.0.2.7")
    assert normalised("2001:DB8:0:0::1") == "2001:db8::1"
