"""Entry point of `otel-audit`: standard library only until the server's packages are known to be there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

INTERRUPTED: Final = 130
"""128 and SIGINT, as shells report it: who pressed Ctrl-C needs no explanation."""
INSTALL: Final = 'pip install "otel-audit[server]"'

# One module of each package that commands import; names differ from those of the distributions.
_SERVER_MODULES: Final = (
    "click",
    "cryptography",
    "duckdb",
    "grpc",
    "httptools",
    "jinja2",
    "jwt",
    "msgspec",
    "prometheus_client",
    "pyarrow",
    "re2",
    "rich",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "websockets",
    "zstandard",
)

_HELP: Final = f"""\
Usage: otel-audit [OPTIONS] COMMAND

This is the light install, for apps that send events.

  --version  Show the version.
  doctor     Say what would silently not be recorded.

Every other command needs the server's packages: {INSTALL}
"""


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrongly used, 130 interrupted."""
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        # Ctrl-C while packages are still being loaded.
        status = INTERRUPTED
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    if list(arguments) == ["--version"]:
        sys.stdout.write(f"otel-audit, version {_version()}\n")
        return 0
    if not missing_modules():
        status: int = importlib.import_module("otel_audit.query_service.cli.main").run(arguments)
        return status
    return _run_light(arguments)


def missing_modules() -> list[str]:
    """The packages of the server extra that are not installed."""
    return [name for name in _SERVER_MODULES if importlib.util.find_spec(name) is None]


def _run_light(arguments: Sequence[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        sys.stdout.write(_HELP)
        return 0
    if command == "doctor":
        return _doctor(arguments[1:])
    missing = missing_modules()
    few = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
    return _fail(f"this command needs the server's packages, missing: {few}", INSTALL)


def _doctor(arguments: Sequence[str]) -> int:
    try:
        startup = importlib.import_module("otel_audit.exporter.startup")
        status: int = startup.doctor(list(arguments))
    except (ImportError, AttributeError):
        return _fail("this release has no doctor for the light install", INSTALL)
    return status


def _version() -> str:
    try:
        return version("otel-audit")
    except PackageNotFoundError:
        return "unknown"


def _fail(message: str, hint: str) -> int:
    sys.stderr.write(f"error: {message}\nhint: {hint}\n")
    return 1
