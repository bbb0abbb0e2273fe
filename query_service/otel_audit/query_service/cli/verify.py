"""`otel-audit verify`: every file against the manifest, and the manifest's chain."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import click

from otel_audit.exporter.store.backup_list import refuse_unfinished
from otel_audit.exporter.store.checkpoint import deviations, read_checkpoint
from otel_audit.exporter.store.errors import ManifestBroken
from otel_audit.exporter.store.partition import RegionRoot, check_tenant
from otel_audit.exporter.store.verify import verify_tenant

from .context import CliContext, json_option, pass_cli, print_json


@click.command()
@click.option("--tenant", metavar="ID", help="Only this organization; all of them if left out.")
@click.option(
    "--checkpoint",
    "checkpoint_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also check that the chain extends this checkpoint, kept elsewhere.",
)
@json_option
@click.pass_context
@pass_cli
def verify(
    cli: CliContext, ctx: click.Context, tenant: str | None, checkpoint_path: Path | None, as_json: bool
) -> None:
    """Re-read everything: each live file's SHA-256 and the chain of the manifest. Exits 1 on any problem."""
    refuse_unfinished(cli.data_dir)
    root = RegionRoot(cli.data_dir)
    checkpoint = read_checkpoint(checkpoint_path) if checkpoint_path else None
    if checkpoint is not None and checkpoint.tenant != (tenant := tenant or checkpoint.tenant):
        raise click.UsageError(f"{checkpoint_path} is a checkpoint of {checkpoint.tenant}, not of {tenant}")
    tenants = [check_tenant(tenant)] if tenant else root.tenants()
    results = [verify_tenant(root, name) for name in tenants]
    deviating: list[str] = []
    if checkpoint is not None:
        with contextlib.suppress(ManifestBroken):  # among the problems already
            deviating = deviations(root, checkpoint)
            results[0].problems += deviating
    if as_json:
        print_json([dataclasses.asdict(result) for result in results])
    else:
        for result in results:
            state = "ok" if not result.problems else f"{len(result.problems)} problems"
            click.echo(
                f"{result.tenant}: {state}; {result.entries:,} manifest entries, {result.files:,} files, "
                f"{result.rows:,} events, {result.bytes:,} bytes"
            )
            for writer, head in result.heads.items():
                click.echo(f"  head of {writer}: {head}")
    if not results:
        click.echo("nothing is stored yet")
    if checkpoint is not None and not results[0].problems and not as_json:
        click.echo(f"  extends the checkpoint of {checkpoint.time}")
    for result in results:
        for problem in result.problems:
            click.echo(f"error: {result.tenant}: {problem}", err=True)
    if any(result.problems for result in results):
        hint = "restore the named files from a backup; answers leave them out meanwhile"
        if deviating:
            hint = "leave this disk as it is, and compare it with a backup from before the checkpoint"
        click.echo(f"hint: {hint}", err=True)
        ctx.exit(1)
