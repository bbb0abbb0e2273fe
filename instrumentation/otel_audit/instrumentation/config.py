"""Settings of the app's side: arguments first, then OTEL_AUDIT_… variables, then defaults."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from otel_audit.instrumentation.context import Resolver
from otel_audit.instrumentation.errors import AuditError

Protocol = Literal["http/protobuf", "grpc"]
PROTOCOLS: Final = ("http/protobuf", "grpc")
Redact = Literal["all", "secrets"]
REDACT: Final = ("all", "secrets")


class Variable(NamedTuple):
    """An environment variable: the setting it gives and what it means."""

    name: str
    setting: str
    meaning: str


ENVIRONMENT: Final = (
    Variable("OTEL_AUDIT_ENDPOINT", "endpoint", "Base URL of the receiver, `http://…` or `https://…`"),
    Variable("OTEL_AUDIT_KEY", "key", "Ingest key, sent as `authorization: Bearer …`"),
    Variable(
        "OTEL_AUDIT_KEY_FILE", "key", "File that holds the ingest key; read when `OTEL_AUDIT_KEY` is unset"
    ),
    Variable("OTEL_AUDIT_TENANT", "tenant", "Tenant of events whose context names none"),
    Variable("OTEL_AUDIT_RESOLVER", "resolver", "`package.module:function` that tells who is acting"),
    Variable("OTEL_AUDIT_PROTOCOL", "protocol", "`http/protobuf` (default) or `grpc`"),
    Variable("OTEL_AUDIT_HEADERS", "headers", "Further headers, `name=value,name=value`, values URL-encoded"),
    Variable("OTEL_AUDIT_TIMEOUT", "timeout_s", "Seconds an export may take, retries included (default 10)"),
    Variable(
        "OTEL_AUDIT_CERTIFICATE", "certificate", "PEM file of the CA that signed the receiver's certificate"
    ),
    Variable(
        "OTEL_AUDIT_CLIENT_CERTIFICATE", "client_certificate", "PEM file of the client's certificate (mTLS)"
    ),
    Variable("OTEL_AUDIT_CLIENT_KEY", "client_key", "PEM file of the client's private key (mTLS)"),
    Variable("OTEL_AUDIT_REDACT", "redact", "What the app hides itself: `all` (default), or `secrets` alone"),
)


class InvalidConfig(AuditError):
    """A setting whose value cannot be used; names the setting and what it allows, never a secret."""

    def __init__(self, setting: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{setting}: {message}", hint=hint)
        self.setting = setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterConfig:
    """What an exporter needs to reach the receiver.

    endpoint: base URL, without the signal's path. timeout_s: of one export, retries included.
    schedule_delay_ms: how long an event may wait for company before it is sent, at least 1.
    redact: what the exporter hides before an event leaves the process: `all`, or `secrets` alone, so that the
    receiver's policy of the organization decides about personal data.
    """

    endpoint: str
    key: str | None = field(default=None, repr=False)
    tenant: str | None = None
    service_name: str | None = None
    protocol: Protocol = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    schedule_delay_ms: float = 200.0
    redact: Redact = "all"

    def __post_init__(self) -> None:
        url = urlsplit(self.endpoint)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InvalidConfig("endpoint", "not a URL", hint="such as http://127.0.0.1:4318")
        if self.protocol not in PROTOCOLS:
            raise InvalidConfig(
                "protocol", f"{self.protocol!r} is unknown", hint=f"one of {', '.join(PROTOCOLS)}"
            )
        if self.redact not in REDACT:
            raise InvalidConfig("redact", f"{self.redact!r} is unknown", hint=f"one of {', '.join(REDACT)}")
        if not 0 < self.timeout_s <= 600:
            raise InvalidConfig(
                "timeout", f"{self.timeout_s} is out of range", hint="seconds, above 0, up to 600"
            )
        if not 1 <= self.schedule_delay_ms <= 60_000:
            raise InvalidConfig(
                "schedule_delay_ms", f"{self.schedule_delay_ms} is out of range", hint="1 to 60000"
            )
        for name in ("certificate", "client_certificate", "client_key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise InvalidConfig(name, f"{path!r} is not a file", hint="give the path of a PEM file")
        for text in (self.key or "", *self.headers, *self.headers.values()):
            if not text.isprintable() or not text.isascii():
                raise InvalidConfig(
                    "key or headers", "not printable ASCII", hint="check for a stray line end"
                )


def exporter_config(given: Mapping[str, Any], environ: Mapping[str, str]) -> ExporterConfig | None:
    """The settings from arguments and environment, None when no endpoint is named anywhere.

    given: ExporterConfig fields, None where the caller gave none. Raises InvalidConfig.
    There is no fallback to OTEL_EXPORTER_OTLP_…: those belong to the app's own telemetry.
    """
    names = {f.name for f in fields(ExporterConfig)}
    settings: dict[str, Any] = {}
    for variable in ENVIRONMENT:
        text = environ.get(variable.name, "").strip()
        if text and variable.setting in names and variable.setting not in settings:
            settings[variable.setting] = _parse(variable, text)
    settings |= {name: value for name, value in given.items() if value is not None}
    return ExporterConfig(**settings) if settings.get("endpoint") else None


def find_resolver(given: Resolver | str | None, environ: Mapping[str, str]) -> Resolver | None:
    """The resolver given or named as `package.module:function`. Raises InvalidConfig."""
    named = given if given is not None else environ.get("OTEL_AUDIT_RESOLVER", "").strip() or None
    if named is None or not isinstance(named, str):
        return named
    module_name, _, path = named.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not callable(found):
        raise InvalidConfig("resolver", f"{named!r} cannot be loaded", hint="package.module:function")
    return cast(Resolver, found)


def sdk_disabled(environ: Mapping[str, str]) -> bool:
    """Whether OTEL_SDK_DISABLED turns OpenTelemetry off in this process."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _parse(variable: Variable, text: str) -> Any:
    if variable.name.endswith("_KEY_FILE"):
        try:
            return Path(text).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise InvalidConfig(
                variable.name, f"{text!r} cannot be read", hint="a file with one key"
            ) from None
    if variable.setting == "timeout_s":
        try:
            return float(text)
        except ValueError:
            raise InvalidConfig(variable.name, f"{text!r} is no number", hint="seconds, such as 10") from None
    return _headers(variable, text) if variable.setting == "headers" else text


def _headers(variable: Variable, text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name.strip()):
            raise InvalidConfig(variable.name, "not a list of headers", hint="name=value,name=value")
        headers[unquote(name).strip().lower()] = unquote(value).strip()
    return headers
