"""`otel-audit restore`: a data directory from a backup."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from otel_audit.exporter.store.backups.backup_list import BackupList
from otel_audit.exporter.store.backups.restore import restore as restore_roots
from otel_audit.exporter.store.partition import DEFAULT_REGION

from ..control.database import FILE_NAME, ControlDatabase
from ..control.outbox import Change, os_actor, put_change
from ..settings import ConfigError, Settings
from .backup import facts, shown_progress, summary
from .context import CONFIG_NAME, CliContext, pass_cli
from .files import seal_now


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="A backup, as `backup --to DIR` made it.",
)
@pass_cli
def restore(cli: CliContext, source: Path) -> None:
    """Make the data directory and its regions, new or empty, from a backup whose every file proved unchanged.

    The copy gets a writer id of its own and passes `verify`. Tokens, sessions and ingest keys are again what
    they were: revoke what was revoked since. The restore is recorded, actor os:<user>.
    """
    roots = cli.region_roots()

    def record(listed: BackupList) -> None:
        # Opened before anything may use the copy: a newer release's database is refused here.
        database = ControlDatabase.open(cli.data_dir / FILE_NAME, create=False)
        change = Change(
            "system",
            "restore_completed",
            f"restored from the backup of {listed.created}",
            ("backup", str(source.resolve()), None),
            attributes=facts(listed, source),
        )
        try:
            with database.write() as connection:
                put_change(connection, (), change, actor=os_actor(), now=time.time())
        finally:
            database.close()

    with shown_progress("restoring") as progress:
        listed = restore_roots(source, roots, before_use=record, progress=progress)
    # The old writer's last rows go under its own numbers into files: its chains never grow again.
    seal_now(cli, None)
    for name, reason in listed.damaged.items():
        click.echo(f"warning: {name} was damaged when the backup was made: {reason}", err=True)
    config = cli.data_dir / CONFIG_NAME
    if config.exists():
        for change in _root_changes(config, {name: root.path for name, root in roots.items()}):
            click.echo(f"warning: {config} came back as it was; before `serve`, {change}", err=True)
    click.echo(f"{cli.data_dir}: {summary(listed)}", err=True)


def _root_changes(config: Path, roots: Mapping[str, Path]) -> Iterator[str]:
    """What must become of the original's configuration so that the copy never opens the original's roots."""
    try:
        named = Settings.load(config.parent, config=config, environment={}).region_roots
    except ConfigError as error:
        yield f"correct it: {error.message}; the copy's roots are " + ", ".join(
            f'{name} = "{path}"' for name, path in roots.items() if name != DEFAULT_REGION
        )
        return
    for name in sorted({*named, *roots} - {DEFAULT_REGION}):
        if name not in named:
            yield f'add to [regions] {name} = "{roots[name]}"'
        elif name not in roots:
            yield f'remove from [regions] {name} = "{named[name]}"'
        elif named[name] != roots[name]:
            yield f'change in [regions] {name} = "{named[name]}" to {name} = "{roots[name]}"'
