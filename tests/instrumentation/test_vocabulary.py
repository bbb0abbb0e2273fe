from __future__ import annotations

import pytest

from otel_audit.instrumentation.vocabulary import (
    CATALOGUE,
    SEVERITY_NUMBER,
    Attr,
    Severity,
    default_outcome,
    default_severity,
    owasp_name,
    retention_class,
    severity_of,
)

ACTIONS = {
    "authentication": "login logout login_failed mfa_enroll mfa_verify mfa_failed sso_login sso_failed "
    "session_expired",
    "data_access": "create read update delete upload download response_generate retrieve",
    "security": "permission_change access_denied suspicious_activity password_change password_reset "
    "key_create key_revoke",
    "system": "task_completed task_failed export search integration config_change retention_delete "
    "hold_change error unclassified_record",
}
WARNINGS = {
    "login_failed",
    "mfa_failed",
    "sso_failed",
    "permission_change",
    "access_denied",
    "key_create",
    "key_revoke",
    "config_change",
    "hold_change",
}


def test_the_catalogue_holds_exactly_the_promised_actions() -> None:
    promised = {(category, name) for category, names in ACTIONS.items() for name in names.split()}
    assert set(CATALOGUE) == promised


@pytest.mark.parametrize(("category", "name"), sorted(CATALOGUE))
def test_every_action_has_its_promised_severity_and_a_summary(category: str, name: str) -> None:
    expected = "error" if name in ("task_failed", "error") else "warning" if name in WARNINGS else "info"
    assert default_severity(category, name) == expected
    assert CATALOGUE[category, name].summary
    assert CATALOGUE[category, name].category == category


def test_actions_of_an_apps_own_get_their_severity_from_the_words_of_their_name() -> None:
    assert default_severity("system", "payment_failed") == "warning"
    assert default_severity("security", "api_key_rotate") == "warning"
    assert default_severity("system", "parser_error") == "error"
    assert default_severity("data_access", "share") == "info"
    assert default_severity("data_access", "keyboard_use") == "info"


def test_actions_end_as_their_name_says_unless_told_otherwise() -> None:
    assert default_outcome("authentication", "login_failed") == "failure"
    assert default_outcome("security", "access_denied") == "denied"
    assert default_outcome("security", "suspicious_activity") == "unknown"
    assert default_outcome("data_access", "read") == "success"


def test_owasp_names_are_given_where_owasp_has_one() -> None:
    assert owasp_name("authentication", "login") == "authn_login_success"
    assert owasp_name("security", "access_denied") == "authz_fail"
    assert owasp_name("authentication", "logout") is None
    assert owasp_name("data_access", "no_such_action") is None


def test_severity_numbers_fall_into_the_four_severities_and_back() -> None:
    assert [severity_of(n).value for n in (0, 1, 12, 13, 16, 17, 20, 21, 24)] == [
        "info", "info", "info", "warning", "warning", "error", "error", "critical", "critical",
    ]  # fmt: skip
    assert {severity: severity_of(number) for severity, number in SEVERITY_NUMBER.items()} == {
        severity: severity for severity in Severity
    }


@pytest.mark.parametrize(
    ("category", "action", "asked", "names", "expected"),
    [
        ("data_access", "response_generate", None, (), ("rag", False)),
        ("data_access", "retrieve", None, (), ("rag", False)),
        ("data_access", "retrieve", "rag", (), ("rag", False)),
        ("data_access", "retrieve", "standard", (), ("standard", False)),
        ("data_access", "read", None, ("gen_ai.operation.name",), ("rag", False)),
        ("data_access", "chat", "rag", ("gen_ai.request.model",), ("rag", False)),
        ("data_access", "read", None, ("general",), ("standard", False)),
        ("data_access", "read", "rag", (), ("standard", True)),
        ("data_access", "delete", None, ("gen_ai.operation.name",), ("standard", False)),
        ("data_access", "delete", "rag", ("gen_ai.operation.name",), ("standard", True)),
        ("security", "access_denied", "rag", ("gen_ai.operation.name",), ("standard", True)),
        ("system", "retrieve", "rag", (), ("standard", True)),
        ("data_access", "retrieve", "forever", (), ("standard", True)),
    ],
)
def test_only_answers_to_questions_get_the_shorter_life(
    category: str, action: str, asked: str | None, names: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    assert retention_class(category, action, asked, names) == expected


def test_attribute_names_are_all_different() -> None:
    names = [value for name, value in vars(Attr).items() if name.isupper()]
    assert names
    assert len(names) == len(set(names))
