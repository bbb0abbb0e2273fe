"""`otel-audit tenant export`, `delete` and `move`: everything of one organization as one thing."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from otel_audit.exporter.store.backups.backup_list import refuse_inside_copies
from otel_audit.exporter.store.regions.tenant_copy import CopyRefused, copy_tenant

from ..app.core import Core
from ..app.local_control import ask_server
from ..app.tenant_move import move_tenant
from ..control.outbox import os_actor
from .context import CliContext, json_option, pass_cli, print_json
from .files import seal_now
from .local_read import LocalRead


@click.command()
@click.argument("id")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="A new folder for the copy, not one of the store's own.",
)
@json_option
@pass_cli
def export(cli: CliContext, id: str, target: Path, as_json: bool) -> None:  # noqa: A002
    """Copy everything of the organization ID into a folder to hand over. The export is recorded.

    The folder has the store's own layout, a README and SHA256SUMS; secret keys are not in it.
    """
    with cli.control() as database:
        read = LocalRead(cli, database, id)
        _refuse_foreign_root(cli, read.region, target)
        read.record("export", {"format": "tenant", "to": str(target.absolute())})
        seal_now(cli, id)
        columns = (TextColumn("copying"), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("copy", total=None)
            done = copy_tenant(read.root, id, target, progress=lambda size: progress.advance(task, size))
    if as_json:
        print_json({"tenant": id, "to": str(target), **dataclasses.asdict(done)})
        return
    click.echo(f"{target}: {done.rows:,} events in {done.files:,} files, {done.bytes:,} bytes")
    click.echo("whoever receives it runs: sha256sum -c SHA256SUMS", err=True)


@click.command()
@click.argument("id")
@click.option("--yes", "confirmed", metavar="ID", help="The id again, instead of asking for it.")
@json_option
@pass_cli
def delete(cli: CliContext, id: str, confirmed: str | None, as_json: bool) -> None:  # noqa: A002
    """Delete everything of the organization ID, for ever. Repeat it if it was interrupted.

    Its id is never used again. Backups and exports made before are not touched.
    """
    if confirmed is None:
        try:
            confirmed = click.prompt(f"This deletes every event of {id}. Type its id to go on", err=True)
        except click.Abort as abort:
            if not isinstance(abort.__context__, EOFError):
                raise  # Ctrl-C
            click.echo(err=True)
            raise click.UsageError(f"nobody typed the id; '--yes {id}' does without asking") from None
    if confirmed != id:
        raise click.UsageError("the two ids differ, so nothing was deleted")
    actor = os_actor().user_id
    done = ask_server(cli.data_dir, "tenant_delete", tenant=id, actor=actor)
    if done is None:
        core = Core(cli.settings(), create=False, giving_up=id)
        try:
            done = core.delete_tenant(id, actor=actor)
        finally:
            core.close()
    if as_json:
        print_json(done)
    else:
        click.echo(f"{id} is deleted: {done['rows']:,} events in {done['files']:,} files")
    if done["damaged_log_pieces"]:
        click.echo(
            f"warning: {done['damaged_log_pieces']} damaged pieces of the write-ahead log are kept in "
            "wal/quarantine and may hold its events; delete them when nobody needs them",
            err=True,
        )


@click.command()
@click.argument("id")
@click.option("--region", required=True, help="Where its data shall be.")
@pass_cli
def move(cli: CliContext, id: str, region: str) -> None:  # noqa: A002
    """Move the organization ID to another region, with the service stopped. Repeat it if interrupted."""
    move_tenant(cli.settings(), id, region, actor=os_actor())
    click.echo(f"{id} is in region {region} now")


def _refuse_foreign_root(cli: CliContext, region: str, target: Path) -> None:
    """Where the copy goes is the user's choice; the folder of another region is only ever a slip."""
    refuse_inside_copies(target)
    for name, root in cli.region_roots().items():
        if name != region and target.resolve().is_relative_to(root.path.resolve()):
            raise CopyRefused(
                f"{target} lies under the root of region {name}", hint="choose a folder outside of all roots"
            )
        # Among live files a copy would be taken for damage, or keep the next start from opening.
        for folder in root.folders:
            if target.resolve().is_relative_to(folder.resolve()):
                raise CopyRefused(f"{target} lies in {folder}", hint="choose a folder outside of all roots")
