"""`otel-audit retention run`: delete the partitions whose period is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from ..app.core import Core
from ..app.local_control import ask_server
from ..control.outbox import os_actor
from ..filters import parse_time
from .context import CliContext, json_option, pass_cli, print_json, print_table


class Moment(click.ParamType[datetime]):
    """RFC 3339, or a date for its 00:00 UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return value if isinstance(value, datetime) else parse_time(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}; write 2026-03-01 or 2026-03-01T09:30:00Z", param, ctx)


@click.group()
def retention() -> None:
    """Delete what is older than its retention."""


@retention.command()
@click.option("--now", type=Moment(), metavar="TIME", help="Act as if it were this time.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@pass_cli
def run(cli: CliContext, now: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Delete expired partitions; a running server is asked to do it, otherwise it is done here."""
    moment, actor = now or datetime.now(UTC), os_actor().user_id
    gone = ask_server(cli.data_dir, "retention", now=moment.isoformat(), dry_run=dry_run, actor=actor)
    if gone is None:
        core = Core(cli.settings(), create=False)
        try:
            due = core.run_retention(moment, dry_run=dry_run, actor=actor)
        finally:
            core.close()
        gone = [{"tenant": p.tenant, "retention": p.retention, "date": p.date, "rows": p.rows} for p in due]
    if as_json:
        print_json({"dry_run": dry_run, "now": moment.isoformat(), "partitions": gone})
        return
    print_table(
        ["TENANT", "RETENTION", "DATE", "EVENTS"],
        [[p["tenant"], p["retention"], p["date"], f"{p['rows']:,}"] for p in gone],
    )
    word = "would be deleted" if dry_run else "deleted"
    click.echo(f"{len(gone)} partitions, {sum(p['rows'] for p in gone):,} events {word}", err=True)
