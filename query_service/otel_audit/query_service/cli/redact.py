"""`otel-audit redact`: what redaction would do to standard input, and why."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from otel_audit.exporter.redaction import policy as base
from otel_audit.exporter.redaction.reasons import Reason
from otel_audit.exporter.redaction.tenant_policy import DEFAULT, Policy
from otel_audit.instrumentation.errors import AuditError

from ..control.tenants import Tenants
from .context import CliContext, pass_cli, print_json, visible
from .explained import Explained, Explainer
from .policy_file import read_policy

# One value of an event is at most a request's 64 MiB; explaining reads everything a few times more.
_INPUT_CHARS_MAX: Final = 64 << 20
_EXPLAINED_CHARS_MAX: Final = 4 << 20
# More than a person reads.
_SHOWN_MAX: Final = 1_000
_FIELDS: Final = (*base.FREE_TEXT_COLUMNS, *base.HIDEABLE_COLUMNS, *base.JSON_TEXT_COLUMNS)


class InputTooLong(AuditError):
    """Standard input holds more than is looked at."""


@click.command()
@click.option("--explain", is_flag=True, help="Say which rule changes what, and why; the redacted text last.")
@click.option("--json", "as_json", is_flag=True, help="With --explain: one JSON document.")
@click.option("--tenant", metavar="ID", help="Under the policy of this organization.")
@click.option("--policy", metavar="FILE", help="Under the policy in a file, before it is set.")
@click.option("--check-policy", "checked", metavar="FILE", help="Only say whether a policy file can be used.")
@click.option(
    "--field",
    type=click.Choice(_FIELDS),
    default="message",
    show_default=True,
    metavar="COLUMN",
    help="The column that a text without events is of.",
)
@pass_cli
def redact(
    cli: CliContext,
    explain: bool,
    as_json: bool,
    tenant: str | None,
    policy: str | None,
    checked: str | None,
    field: str,
) -> None:
    """Show what redaction does to standard input: a text, one event as JSON, or an event a line.

    Nothing is stored, and secrets are never shown. Hashes and tokens are made with keys of this run only.
    At most 64 Mi characters are taken, 4 Mi with --explain, of which the first 1,000 replacements are told.
    Exits 0 whatever was found, 1 when input or policy cannot be used.
    """
    if checked is not None:
        found = read_policy(checked)
        Explainer(found)
        click.echo(f"ok, version {found.version or 'default'}")
        return
    if as_json and not explain:
        raise click.UsageError("--json goes with --explain")
    if tenant is not None and policy is not None:
        raise click.UsageError("--tenant and --policy are two policies; give one")
    if policy == "-":
        raise click.UsageError("standard input is the text; give the policy as a file")
    explainer = Explainer(_policy(cli, tenant, policy))
    text = _input(_EXPLAINED_CHARS_MAX if explain else _INPUT_CHARS_MAX)
    done = list(explainer.explain(text, field, why=explain))
    if as_json:
        print_json(_as_dict(done))
        return
    if explain:
        _tell(done)
    # A text ends as it came, events end their lines.
    for each in done:
        click.echo(each.redacted, nl=each.line is not None)


def _policy(cli: CliContext, tenant: str | None, file: str | None) -> Policy:
    if file is not None:
        return read_policy(file)
    if tenant is None:
        return DEFAULT
    with cli.control() as database:
        Tenants(database).show(tenant)
        return Tenants(database).redaction_of(tenant)


def _input(chars_max: int) -> str:
    text = sys.stdin.buffer.read(4 * chars_max + 1).decode("utf-8", "replace")
    if len(text) > chars_max:
        raise InputTooLong(
            f"standard input is longer than {chars_max >> 20} Mi characters",
            hint="give one part of it; a text that is cut anywhere may hide half a secret",
        )
    return text


def _tell(done: list[Explained]) -> None:
    every = [(each.line, item) for each in done for item in each.reasons]
    for line, item in every[:_SHOWN_MAX]:
        where = f"line {line}, " if len(done) > 1 else ""
        place = f" at {_place(item)}" if item.span is not None else ""
        instead = f"; becomes {item.replacement}" if item.replacement else ""
        said = f"{item.rule} ({item.rule_class}) in {where}{item.field}{place}: {item.reason}{instead}"
        click.echo(visible(said))
    if len(every) > _SHOWN_MAX:
        click.echo(f"and {len(every) - _SHOWN_MAX:,} more")
    if not every:
        click.echo("nothing would be changed")
    click.echo()


def _as_dict(done: list[Explained]) -> dict[str, Any]:
    every = [(each.line, item) for each in done for item in each.reasons]
    return {
        "explanations": [
            {
                "line": line,
                "rule": item.rule,
                "class": item.rule_class,
                "field": item.field,
                "span": None if item.span is None else _place(item),
                "replacement": item.replacement or None,
                "reason": item.reason,
            }
            for line, item in every[:_SHOWN_MAX]
        ],
        "more": max(0, len(every) - _SHOWN_MAX),
        "redacted": [each.redacted for each in done],
    }


def _place(item: Reason) -> str:
    """First and last character as line:column, both from 1."""
    start, end = item.span or (0, 0)
    return "-".join(_at(item.text, offset) for offset in (start, max(start, end - 1)))


def _at(text: str, offset: int) -> str:
    return f"{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"
