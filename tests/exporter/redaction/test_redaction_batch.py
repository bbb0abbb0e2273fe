from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.exporter.receiver.redact import REDACTED, BatchRedactor
from otel_audit.exporter.receiver.suspects import Suspects
from otel_audit.exporter.redaction import Redactor, load_rules, policy, session_hash
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.schema import RECEIVED, ROW
from tests.support.redaction_corpus import Corpus

RULES = load_rules()
ENGINE = Redactor(RULES, matcher="re2")
SUSPECTS = {"re2": Suspects(ENGINE), "re": Suspects(Redactor(RULES, matcher="re"))}
KEY = "sk_live_" + "a8F2k9Lm3Qx7Tz5W" + "4242"
TEXT_COLUMNS = [f.name for f in RECEIVED if f.type == pa.string() and f.name in REDACTED.names]


@pytest.fixture
def redactor(tmp_path: Path) -> BatchRedactor:
    return BatchRedactor(ENGINE, Keyring(tmp_path))


def received(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict.fromkeys(RECEIVED.names) | row for row in rows], schema=RECEIVED)


def one(redactor: BatchRedactor, **row: Any) -> dict[str, Any]:
    result: dict[str, Any] = redactor.apply(received(row), "acme").to_pylist()[0]
    return result


def test_every_text_column_loses_a_key_and_says_so(redactor: BatchRedactor) -> None:
    skipped = {*policy.UNTOUCHED_COLUMNS, *policy.HASHED_COLUMNS}
    assert {*TEXT_COLUMNS, *policy.LIST_COLUMNS} - skipped - {"policy_version"} == {
        *policy.IDENTITY_COLUMNS,
        *policy.NAMING_COLUMNS,
        *policy.FREE_TEXT_COLUMNS,
        *policy.JSON_TEXT_COLUMNS,
        *policy.LIST_COLUMNS,
    }
    for column in set(TEXT_COLUMNS) - skipped - {"policy_version"}:
        value = json.dumps({"a": KEY}) if column in policy.JSON_TEXT_COLUMNS else KEY
        field = f"{column}.a" if column in policy.JSON_TEXT_COLUMNS else column
        row = one(redactor, **{column: value})
        assert KEY not in str(row)
        assert "sk_live_…4242" in row[column]
        assert row["redactions"] == [{"rule": "stripe_key", "field": field, "count": 1}]


def test_the_batch_keeps_the_order_and_types_of_its_columns(redactor: BatchRedactor) -> None:
    result = redactor.apply(received({"message": "x"}, {}), "acme")
    assert result.schema.names == [name for name in ROW.names if name != "content_digest"]
    assert result.schema == REDACTED
    assert result.column("redactions").to_pylist() == [[], []]
    assert set(result.column("policy_version").to_pylist()) == {f"p1-{RULES.version}"}
    assert redactor.apply(received(), "acme").num_rows == 0


def test_identity_keeps_personal_data_and_free_text_masks_it(redactor: BatchRedactor) -> None:
    row = one(redactor, user_email="bob@example.com", user_id="bob@example.com", message="by bob@example.com")
    assert (row["user_email"], row["user_id"]) == ("bob@example.com", "bob@example.com")
    assert row["message"] == "by b•••@example.com"
    assert row["redactions"] == [{"rule": "email", "field": "message", "count": 1}]


def test_json_columns_stay_json_and_innocent_ones_stay_as_they_were(redactor: BatchRedactor) -> None:
    innocent = '{ "z": 1.10, "a": "é", "n": [null, 1e3] }'
    header = {"http.request.header.authorization": ["Bearer x"], "z": 1.5, "note": "mail é@example.com"}
    row = one(redactor, attributes=json.dumps(header), otel_resource=innocent)
    assert row["otel_resource"] == innocent
    assert row["attributes"] == (
        '{"http.request.header.authorization":"[REDACTED:authorization]","z":1.5,'
        '"note":"mail •••@example.com"}'
    )
    assert {(r["rule"], r["field"]) for r in row["redactions"]} == {
        ("authorization", "attributes.http.request.header.authorization"),
        ("email", "attributes.note"),
    }


def test_a_number_that_begins_a_pair_stays_a_number(redactor: BatchRedactor) -> None:
    row = one(redactor, attributes=f'{{"points":[[2.5,"a"]],"k":"{KEY}"}}')
    assert row["attributes"] == '{"points":[[2.5,"a"]],"k":"sk_live_…4242"}'


def test_a_json_column_that_is_no_json_becomes_json(redactor: BatchRedactor) -> None:
    row = one(
        redactor, attributes='{"password": "hunter2secret', changes='{"a":"\\ud800 password=hunter2secret"}'
    )
    assert "hunter2secret" not in str(row)
    assert json.loads(row["attributes"]) == {"invalid_json": '{"password": "[REDACTED:password]'}
    assert json.loads(row["changes"]) == {"a": "\ufffd password=[REDACTED:password]"}


def test_a_changed_password_loses_both_values(redactor: BatchRedactor) -> None:
    changes = {"password": {"before": "hunter1x", "after": "hunter2x"}, "role": {"before": "a", "after": "b"}}
    row = one(redactor, changes=json.dumps(changes))
    assert json.loads(row["changes"]) == {
        "password": {"before": "[REDACTED:password]", "after": "[REDACTED:password]"},
        "role": {"before": "a", "after": "b"},
    }


def test_sessions_are_hashed_once(redactor: BatchRedactor) -> None:
    row = one(redactor, session_id="s-1")
    assert row["session_id"] == session_hash("s-1") == session_hash(session_hash("s-1"))
    assert len(row["session_id"]) == 35


def test_lists_are_redacted(redactor: BatchRedactor) -> None:
    row = one(redactor, user_roles=["admin", KEY, "admin"], flags=[])
    assert row["user_roles"] == ["admin", "sk_live_…4242", "admin"]
    assert row["flags"] == []
    assert row["redactions"] == [{"rule": "stripe_key", "field": "user_roles", "count": 1}]


@pytest.mark.parametrize("action", ["login_failed", "sso_failed", "mfa_failed"])
def test_what_an_unknown_user_typed_is_hashed_wherever_it_stands(
    redactor: BatchRedactor, action: str
) -> None:
    row = one(
        redactor,
        action=action,
        user_email="Hunter2!",
        user_name="hunter2!",
        message="sign-in of hunter2! failed",
        resource_id="hunter2!",
        attributes='{"typed":"hunter2!","ok":true,"hunter2!":1}',
    )
    assert "hunter2" not in str(row).lower()
    mark = row["user_email"]
    assert mark == row["user_name"]
    assert row["message"] == f"sign-in of {mark} failed"
    assert json.loads(row["attributes"]) == {"typed": mark, "ok": True, mark: 1}
    assert {r["rule"] for r in row["redactions"]} == {"unknown_user"}
    other = redactor.apply(received({"action": action, "user_email": "hunter2!"}), "other").to_pylist()[0]
    assert other["user_email"] != mark


def test_the_failed_login_of_an_existing_account_keeps_who_it_was(redactor: BatchRedactor) -> None:
    row = one(redactor, action="login_failed", user_id="u-1", user_email="bob@example.com", user_type="user")
    assert (row["user_id"], row["user_email"]) == ("u-1", "bob@example.com")
    row = one(redactor, action="login_failed", user_id="u-1", user_type="anonymous")
    assert row["user_id"].startswith("[UNKNOWN_USER:")
    row = one(redactor, action="login", user_email="bob@example.com")
    assert row["user_email"] == "bob@example.com"


def test_an_innocent_literal_typed_as_a_name_leaves_the_json_valid(redactor: BatchRedactor) -> None:
    row = one(
        redactor, action="login_failed", user_name="true", attributes='{"mfa":true,"true":"true","n":123}'
    )
    assert json.loads(row["attributes"]) == {"mfa": True, row["user_name"]: row["user_name"], "n": 123}


def test_columns_and_single_values_are_searched_alike(redactor: BatchRedactor) -> None:
    corpus = Corpus(seed=5)
    examples = [e for r in RULES.rules for e in (*r.positive, *r.negative)]
    texts = [corpus.expand(example) for example in examples]
    texts += [f"{text} ﹣ｐassword={text}" for text in texts]
    texts += ["token=a8F2k9", "CONTRASEÑA=a8F2k9", "pin: 1", "x", "", "K", "token_count=3", "--token a8F2k9"]
    rows: list[dict[str, Any]] = [
        {
            "message": t if n % 3 else None,
            "user_agent": t if n % 5 else "curl/8",
            "user_name": t if n % 7 else "",
            "service_name": "token" if n % 11 else t,
            "attributes": json.dumps({t: [t]}),
            "changes": json.dumps({"name": {"before": n, "after": t}}) if n % 2 else None,
        }
        for n, t in enumerate(texts)
    ]
    sliced = received({"message": "password=x"}, *rows, {}).slice(1, len(rows))
    together = redactor.apply(received(*rows), "acme").to_pylist()
    assert redactor.apply(sliced, "acme").to_pylist() == together
    # Alone and in other company; a batch for each row would nearly double the time.
    start = 0
    for size in cycle((1, 2, 5, 13, 34)):
        part = slice(start, start + size)
        assert redactor.apply(received(*rows[part]), "acme").to_pylist() == together[part]
        start += size
        if start >= len(rows):
            break
    engine = Redactor(RULES)
    for row, result in zip(rows, together, strict=True):
        for name in ("message", "user_agent", "user_name", "service_name"):
            if row[name] is not None:
                personal = policy.is_personal(name)
                assert engine.text(row[name], personal=personal, field=name)[0] == result[name]
        redacted, hits = engine.tree(json.loads(row["attributes"]), personal=True, field="attributes")
        assert json.loads(result["attributes"]) == redacted
        assert sum(hits.values()) == sum(
            r["count"] for r in result["redactions"] if r["field"].startswith("attributes")
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.booleans(), st.sampled_from(["re", "re2"]))
def test_no_row_hides_behind_its_neighbours(seed: int, personal: bool, matcher: str) -> None:
    corpus = Corpus(seed)
    pieces = [e for r in RULES.rules for e in (*r.positive, *r.negative)]
    pieces += ["pin=4711", "token: a8F2k9x", "é", "", "-", "K", "pa", "ssword=x1", "eyJ", "to", "ken=a8F2k9x"]
    values = [corpus.expand(text) for text in corpus.random.choices(pieces, k=60)]
    column = {"c": pa.array([value or None for value in values], pa.string())}
    rows = SUSPECTS[matcher].rows(*(({}, column) if personal else (column, {}))).get("c", [])
    assert rows == sorted(set(rows))
    for row in set(range(len(values))) - set(rows):
        assert ENGINE.text(values[row], personal=personal, field="m") == (values[row], {})


def test_evidence_stays_small(redactor: BatchRedactor) -> None:
    attributes = {f"a{i}": f"password=hunter{i}" for i in range(500)}
    row = one(redactor, attributes=json.dumps(attributes))
    assert row["redactions"] == [{"rule": "password", "field": "attributes", "count": 500}]


def test_redacting_a_batch_twice_changes_no_value(redactor: BatchRedactor) -> None:
    row = {"action": "login_failed", "user_name": "bob", "session_id": "s", "message": f"{KEY} a@example.com"}
    once = redactor.apply(received(row), "acme").to_pylist()[0]
    again = one(redactor, **{k: v for k, v in once.items() if k in RECEIVED.names})
    assert {k: v for k, v in again.items() if k != "redactions"} == {
        k: v for k, v in once.items() if k != "redactions"
    }
