"""`otel-audit files`: the exact Parquet files of an organization, for other engines."""

from __future__ import annotations

import time
from typing import Any

import click

from otel_audit.exporter.store.snapshot import Snapshot
from otel_audit.exporter.store.upkeep.pins import pin_files

from ..app.core import Core
from ..app.local_control import ask_server
from .context import CliContext, pass_cli
from .filter_options import chosen_filters, filter_options
from .local_read import LocalRead, filter_details


@click.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option("--seal", is_flag=True, help="First write what is still in the write-ahead log.")
@filter_options
@pass_cli
def files(cli: CliContext, /, tenant: str, seal: bool, **chosen: Any) -> None:
    """Print the live files that may hold events of a filter, one path a line.

    Only the time of the filter chooses files; without one all are listed. They stay in place for an hour,
    unless retention must delete them.
    """
    filters = chosen_filters(chosen)
    with cli.control() as database:
        read = LocalRead(cli, database, tenant)
        read.record("export", {**filter_details(filters), "format": "files"})
        if seal:
            seal_now(cli, tenant)
        timed = any(filters.values(name) for name in ("range", "from", "to"))
        snapshot: Snapshot = read.source.snapshot(
            tenant,
            time_from=filters.time_from if timed else None,
            time_to=filters.time_to if timed else None,
        )
        pin_files(read.root, [ref.path for ref in snapshot.files], time.time())
    for ref in snapshot.files:
        click.echo(str(ref.path.resolve()))
    for damage in snapshot.damaged:
        click.echo(f"warning: {damage.file} is left out: {damage.reason}", err=True)


def seal_now(cli: CliContext, tenant: str | None) -> None:
    """Ask the running server to seal, or do it here when none runs. tenant: all of them when None."""
    if ask_server(cli.data_dir, "seal", tenant=tenant) is None:
        core = Core(cli.settings())
        try:
            core.self_audit.drain_outbox()  # so that this very command is in the files
            core.seal(tenant)
        finally:
            core.close()
