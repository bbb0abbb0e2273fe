"""`otel-audit search`: find events on the terminal."""

from __future__ import annotations

import json
from typing import Any

import click

from ..search import search as find
from .context import CliContext, pass_cli, print_table
from .filter_options import chosen_filters, filter_options
from .local_read import LocalRead, filter_details

_PAGE = 1000


@click.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Events at most."
)
@click.option("--format", "form", type=click.Choice(["table", "ndjson"]), default="table", show_default=True)
@filter_options
@pass_cli
def search(cli: CliContext, /, tenant: str, limit: int, form: str, **chosen: Any) -> None:
    """Find events, newest first. The search itself is recorded."""
    filters = chosen_filters(chosen)
    with cli.control() as database:
        read = LocalRead(cli, database, tenant)
        filters = read.finding(filters)
        read.record("search", filter_details(filters))
        cursor, as_of, left = None, None, limit
        rows: list[list[str]] = []
        while left:
            size = min(left, _PAGE)
            page = find(read.engine, read.source, tenant, filters, limit=size, cursor=cursor, as_of=as_of)
            for event in page.events:
                if form == "ndjson":
                    click.echo(json.dumps(event, ensure_ascii=False))
                else:
                    rows.append(_row(event))
            _warn(page.partial)
            left -= len(page.events)
            cursor, as_of = page.next, page.as_of
            if cursor is None:
                break
        for note in filters.notes():
            click.echo(f"note: {note}", err=True)
    if form == "table":
        print_table(["TIME", "SEVERITY", "EVENT", "OUTCOME", "USER", "RESOURCE", "ADDRESS"], rows)


def _row(event: dict[str, Any]) -> list[str]:
    thing = " ".join(filter(None, [event["resource_type"], event["resource_name"] or event["resource_id"]]))
    what = f"{event['category']}.{event['action']}"
    who = event["user_email"] or event["user_id"] or "-"
    where = event["client_address"] or "-"
    return [event["time"], event["severity"], what, event["outcome"] or "-", who, thing or "-", where]


def _warn(partial: list[dict[str, Any]]) -> None:
    for item in partial:
        click.echo(f"warning: {item['file']} is left out: {item['reason']}", err=True)
