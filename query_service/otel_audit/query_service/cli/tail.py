"""`otel-audit tail`: watch events arrive, beside the running server."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import click

from ..event_json import EVENT_COLUMNS, event_of
from ..filters import Filters
from .context import CliContext, pass_cli, visible
from .filter_options import chosen_filters, filter_options
from .local_read import LocalRead, filter_details

_POLL_S: Final = 0.5


@click.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option("--format", "form", type=click.Choice(["line", "ndjson"]), default="line", show_default=True)
@filter_options
@pass_cli
def tail(cli: CliContext, /, tenant: str, form: str, **chosen: Any) -> None:
    """Print events as they become durable, until Ctrl-C. Watching is itself recorded."""
    filters = chosen_filters(chosen)
    with cli.control() as database:
        read = LocalRead(cli, database, tenant)
        filters = read.finding(filters)
        read.record("stream", filter_details(filters))
        seen = dict(read.source.snapshot(tenant).position)
        while True:
            time.sleep(_POLL_S)
            for event in _fresh(read, filters, seen):
                click.echo(json.dumps(event, ensure_ascii=False) if form == "ndjson" else _line(event))


def _fresh(read: LocalRead, filters: Filters, seen: dict[str, int]) -> list[dict[str, Any]]:
    snapshot = read.source.snapshot(read.tenant)
    files = [ref for ref in snapshot.files if ref.seq_max > seen.get(ref.writer, 0)]
    condition, params = filters.where(time=False)
    fresh = []
    with read.engine.scan(files, snapshot.hot) as scan:
        for writer in snapshot.position:
            bound = params | {"writer": writer, "seq": seen.get(writer, 0)}
            where = f"WHERE {condition} AND writer = $writer AND seq > $seq ORDER BY seq"
            fresh += scan.fetch("SELECT", EVENT_COLUMNS, "FROM", scan.source, where, params=bound)
    seen.update(snapshot.position)
    return [event_of(row) for row in fresh]


def _line(event: dict[str, Any]) -> str:
    who = event["user_email"] or event["user_id"] or "-"
    what = f"{event['category']}.{event['action']}"
    return visible(f"{event['time']} {event['severity']:8} {what} {who} {event['message']}")
