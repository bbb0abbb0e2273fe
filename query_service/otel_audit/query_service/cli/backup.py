"""`otel-audit backup`: a consistent copy of everything, beside a running server or without one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from otel_audit.exporter.store.backups.backup import back_up
from otel_audit.exporter.store.backups.backup_list import LIST_NAME, BackupList
from otel_audit.exporter.store.backups.copying import Progress as Told

from ..control.database import FILE_NAME, ControlDatabase
from ..control.outbox import Change, os_actor, put_change
from .context import CliContext, pass_cli
from .files import seal_now

_folder = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--to", "target", type=_folder, required=True, metavar="DIR", help="A new or empty folder.")
@click.option(
    "--previous",
    type=_folder,
    metavar="DIR",
    help="An earlier backup on the same file system: link the files it has instead of copying them.",
)
@click.option("--despite-damage", is_flag=True, help="Leave damaged files out instead of refusing.")
@pass_cli
def backup(cli: CliContext, target: Path, previous: Path | None, despite_damage: bool) -> None:
    """Copy the data directory and every region to DIR, while a server runs; `backup.json` is written last.

    Every event acknowledged before the command is in it. It holds keys: protect it like the original. The
    backup is recorded, actor os:<user>.
    """
    with cli.control() as database:
        # Before anything leaves, as any reading is.
        _record(database, "backup_started", f"backup to {target} started", target)
        seal_now(cli, None)

        def copy_control(folder: Path) -> Path:
            database.copy_to(folder / FILE_NAME)
            return folder / FILE_NAME

        with shown_progress("copying") as progress:
            made = back_up(
                cli.region_roots(),
                target,
                copy_control=copy_control,
                now=datetime.now(UTC),
                previous=previous,
                despite_damage=despite_damage,
                progress=progress,
            )
        _record(database, "backup_completed", f"backup to {target} is whole", target, made)
    for name, reason in made.damaged.items():
        click.echo(f"warning: {name} is left out: {reason}", err=True)
    click.echo(f"{target}: {summary(made)}", err=True)


def summary(listed: BackupList) -> str:
    """A backup in a few words."""
    rows = sum(tenant.rows for tenant in listed.tenants.values())
    return f"{len(listed.files):,} files, {listed.bytes:,} bytes, {rows:,} sealed events"


def facts(listed: BackupList, folder: Path) -> dict[str, object]:
    """What the trail says about a backup: enough to recognize it, and to notice that it was changed."""
    return {
        "otel_audit.backup.created": listed.created,
        "otel_audit.backup.writers": [f"{region}/{writer}" for region, writer in listed.writers.items()],
        "otel_audit.backup.files": len(listed.files),
        "otel_audit.backup.bytes": listed.bytes,
        "otel_audit.backup.sha256": hashlib.sha256((folder / LIST_NAME).read_bytes()).hexdigest(),
    }


@contextmanager
def shown_progress(what: str) -> Iterator[Told]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)  # stdout stays what a command prints
    with Progress(*columns, transient=True, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _record(
    database: ControlDatabase, action: str, message: str, target: Path, made: BackupList | None = None
) -> None:
    about = facts(made, target) if made is not None else None
    change = Change("system", action, message, ("backup", str(target.resolve()), None), attributes=about)
    with database.write() as connection:
        put_change(connection, (), change, actor=os_actor(), now=time.time())
