"""`otel-audit files`: the exact Parquet files of an organization, for other engines."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

import click

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.snapshot import Snapshot
from otel_audit.exporter.store.upkeep.pins import pin_files

from ..app.core import Core
from ..app.local_control import ask_server
from .context import CliContext, pass_cli
from .filter_options import chosen_filters, filter_options
from .local_read import LocalRead, filter_details

# A merge of one tenant takes seconds, so the second look nearly always finds a still folder.
_TRIES_MAX: Final = 5


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
        snapshot = _pinned(read, filters.time_from if timed else None, filters.time_to if timed else None)
    for ref in snapshot.files:
        click.echo(str(ref.path.resolve()))
    for damage in snapshot.damaged:
        click.echo(f"warning: {damage.file} is left out: {damage.reason}", err=True)


def _pinned(read: LocalRead, time_from: datetime | None, time_to: datetime | None) -> Snapshot:
    """The files of now, held in place: one that was merged before its pin counted is looked up again."""
    for _ in range(_TRIES_MAX):
        snapshot = read.source.snapshot(read.tenant, time_from=time_from, time_to=time_to)
        pin_files(read.root, [ref.path for ref in snapshot.files], time.time())
        if all(ref.path.exists() for ref in snapshot.files):
            return snapshot
    raise StoreUnavailable("the files keep being merged", hint="try again in a moment")


def seal_now(cli: CliContext, tenant: str | None) -> None:
    """Ask the running server to seal, or do it here when none runs. tenant: all of them when None."""
    if ask_server(cli.data_dir, "seal", tenant=tenant) is None:
        core = Core(cli.settings(), create=False)
        try:
            core.self_audit.drain_outbox()  # so that this very command is in the files
            core.seal(tenant)
        finally:
            core.close()
