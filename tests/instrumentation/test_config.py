from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from otel_audit.instrumentation.config import InvalidConfig, exporter_config, find_resolver, sdk_disabled


def test_everything_can_come_from_the_environment(tmp_path: Path) -> None:
    key = secrets.token_hex(16)
    pem = tmp_path / "some.pem"
    pem.write_text("PEM")
    config = exporter_config(
        {},
        {
            "OTEL_AUDIT_ENDPOINT": "https://audit.example.com:4318", "OTEL_AUDIT_KEY": key,
            "OTEL_AUDIT_TENANT": "acme", "OTEL_AUDIT_PROTOCOL": "grpc", "OTEL_AUDIT_TIMEOUT": "2.5",
            "OTEL_AUDIT_HEADERS": "x-one=1, X-Two=a%20b", "OTEL_AUDIT_CERTIFICATE": str(pem),
            "OTEL_AUDIT_CLIENT_CERTIFICATE": str(pem), "OTEL_AUDIT_CLIENT_KEY": str(pem),
        },
    )  # fmt: skip
    assert config is not None
    assert (config.endpoint, config.key, config.tenant) == ("https://audit.example.com:4318", key, "acme")
    assert (config.protocol, config.timeout_s) == ("grpc", 2.5)
    assert config.headers == {"x-one": "1", "x-two": "a b"}
    assert config.certificate == config.client_certificate == config.client_key == str(pem)
    assert key not in repr(config)


def test_arguments_win_over_the_environment_and_a_key_over_a_key_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    environ = {"OTEL_AUDIT_ENDPOINT": "http://env:4318", "OTEL_AUDIT_KEY_FILE": str(file)}
    from_file = exporter_config({"endpoint": "http://given:4318"}, environ)
    assert from_file is not None
    assert (from_file.endpoint, from_file.key) == ("http://given:4318", "from-file")
    from_variable = exporter_config({}, environ | {"OTEL_AUDIT_KEY": "from-variable"})
    assert from_variable is not None
    assert from_variable.key == "from-variable"


def test_the_apps_own_otlp_settings_are_never_used() -> None:
    assert exporter_config({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://vendor:4318"}) is None


@pytest.mark.parametrize(
    ("given", "environ", "setting"),
    [
        ({"endpoint": "127.0.0.1:4318"}, {}, "endpoint"),
        ({"endpoint": "http://h", "protocol": "http/json"}, {}, "protocol"),
        ({"endpoint": "http://h", "timeout_s": 0}, {}, "timeout"),
        ({"endpoint": "http://h", "schedule_delay_ms": 0}, {}, "schedule_delay_ms"),
        ({"endpoint": "http://h", "certificate": "/no/such.pem"}, {}, "certificate"),
        ({"endpoint": "http://h", "key": "two\nlines"}, {}, "key or headers"),
        ({"endpoint": "http://h"}, {"OTEL_AUDIT_TIMEOUT": "soon"}, "OTEL_AUDIT_TIMEOUT"),
        ({"endpoint": "http://h"}, {"OTEL_AUDIT_KEY_FILE": "/no/such"}, "OTEL_AUDIT_KEY_FILE"),
        ({"endpoint": "http://h"}, {"OTEL_AUDIT_HEADERS": "nonsense"}, "OTEL_AUDIT_HEADERS"),
    ],
)
def test_an_unusable_setting_is_refused_by_name(
    given: dict[str, Any], environ: dict[str, str], setting: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        exporter_config(given, environ)
    assert refused.value.setting == setting
    assert refused.value.hint


def test_a_resolver_may_be_named() -> None:
    assert find_resolver(None, {"OTEL_AUDIT_RESOLVER": "os.path:basename"}) is not None
    assert find_resolver(None, {}) is None
    for name in ("os.path", "os.path:no_such", "no_such_module:x", ":x", "os:name"):
        with pytest.raises(InvalidConfig):
            find_resolver(name, {})


def test_opentelemetry_may_be_disabled() -> None:
    assert sdk_disabled({"OTEL_SDK_DISABLED": " True "})
    assert not sdk_disabled({"OTEL_SDK_DISABLED": "0"})
