"""The doctor's checks: what in this environment would silently not be recorded."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final
from urllib.parse import urlsplit

from otel_audit.instrumentation.config import ExporterConfig, exporter_config, find_resolver, sdk_disabled
from otel_audit.instrumentation.errors import AuditError

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ok: None for "nothing to check"; hint: what to do when it is not ok."""

    name: str
    ok: bool | None
    message: str
    hint: str = ""


def app_checks(environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether an app started with this environment would send its events, and the receiver take them."""
    if sdk_disabled(environ):
        yield Check("sdk", False, "OTEL_SDK_DISABLED is set: nothing is recorded", "unset OTEL_SDK_DISABLED")
    try:
        config = exporter_config({}, environ)
        find_resolver(None, environ)
    except AuditError as error:
        yield Check("settings", False, error.message, error.hint)
        return
    if config is None:
        yield Check("settings", None, "OTEL_AUDIT_ENDPOINT is not set: apps need it, or audit.configure(...)")
        return
    yield Check("settings", True, f"events go to {config.endpoint} by {config.protocol}")
    names = sorted(point.name for point in entry_points(group="otel_audit_exporter"))
    yield Check("exporter", bool(names), f"found: {', '.join(names) or 'none'}", "reinstall otel-audit")
    if config.key is None:
        yield Check("key", False, "no ingest key: the receiver refuses every event", "set OTEL_AUDIT_KEY")
        return
    if config.protocol == "http/protobuf":
        yield _receiver_check(config)


def _receiver_check(config: ExporterConfig) -> Check:
    """Send an empty request: it proves address and key and stores nothing."""
    url = urlsplit(config.endpoint)
    secure = url.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port or (443 if secure else 80), timeout=_TIMEOUT_S)
    headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {config.key}"}
    try:
        connection.request("POST", f"{url.path.rstrip('/')}/v1/logs", b"", headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Check(
            "receiver",
            False,
            f"{config.endpoint} cannot be reached ({type(error).__name__})",
            "start `otel-audit serve` there, or correct OTEL_AUDIT_ENDPOINT",
        )
    finally:
        connection.close()
    if status == 200:
        return Check("receiver", True, "reached, and it takes the key")
    hint = "make a new key: otel-audit key create --tenant ID" if status == 401 else "see the receiver's log"
    return Check("receiver", False, f"answered {status} to an empty request", hint)


def report(checks: Sequence[Check]) -> int:
    """Print findings; 1 when any is not ok."""
    marks = {True: "ok  ", False: "FAIL", None: "-   "}
    for check in checks:
        sys.stdout.write(f"{marks[check.ok]}  {check.name}: {check.message}\n")
        if check.ok is False and check.hint:
            sys.stdout.write(f"      hint: {check.hint}\n")
    return 1 if any(check.ok is False for check in checks) else 0


def doctor(arguments: Sequence[str]) -> int:
    """The doctor of the light install: the app's side only."""
    if arguments:
        sys.stderr.write("error: doctor takes no arguments here\nhint: see 'otel-audit --help'\n")
        return 2
    return report(list(app_checks(os.environ)))
