"""A redaction policy named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from otel_audit.exporter.redaction.tenant_policy import BYTES_MAX, DEFAULT, Policy, PolicyError, parse_policy


def read_policy(source: str) -> Policy:
    """The policy in a file, on standard input (`-`), or the `default`.

    Raises PolicyError, click.UsageError when there is no such file.
    """
    if source == "default":
        return DEFAULT
    try:
        data = (sys.stdin.buffer if source == "-" else Path(source).open("rb")).read(BYTES_MAX + 1)  # noqa: SIM115
        return parse_policy(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise PolicyError(f"{source} is not UTF-8 text", hint="save it as UTF-8") from None
    except OSError as error:
        raise click.UsageError(f"cannot read {source}: {error.strerror}") from None
