"""`otel-audit redact --explain`: what redaction would do to standard input, and why."""

from __future__ import annotations

import sys
from typing import Final

import click

from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.explain import explain as explanations
from otel_audit.exporter.redaction.rules import load_rules

# One value of an event is at most a request's 64 MiB; more is no value.
_INPUT_CHARS_MAX: Final = 64 << 20


@click.command()
@click.option("--explain", is_flag=True, help="Say which rule changes what, instead of the redacted text.")
def redact(explain: bool) -> None:
    """Show what redaction would do to the text on standard input, as free text of an event."""
    redactor = Redactor(load_rules())
    text = sys.stdin.read(_INPUT_CHARS_MAX)
    if not explain:
        click.echo(redactor.text(text, personal=True, field="message")[0], nl=False)
        return
    found = explanations(text, redactor=redactor)
    for item in found:
        where = f"characters {item.span[0]}-{item.span[1]}" + (f" in {item.field}" if item.field else "")
        click.echo(f"{item.rule} ({item.rule_class}): {where} become {item.replacement}")
    if not found:
        click.echo("nothing would be changed")
