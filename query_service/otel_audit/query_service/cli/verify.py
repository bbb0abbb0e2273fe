"""`otel-audit verify`: every file against the manifest, and the manifest's chain."""

from __future__ import annotations

import dataclasses

import click

from otel_audit.exporter.store.partition import RegionRoot, check_tenant
from otel_audit.exporter.store.verify import verify_tenant

from .context import CliContext, json_option, pass_cli, print_json


@click.command()
@click.option("--tenant", metavar="ID", help="Only this organization; all of them if left out.")
@json_option
@click.pass_context
@pass_cli
def verify(cli: CliContext, ctx: click.Context, tenant: str | None, as_json: bool) -> None:
    """Re-read everything: each live file's SHA-256 and the chain of the manifest. Exits 1 on any problem."""
    root = RegionRoot(cli.data_dir)
    tenants = [check_tenant(tenant)] if tenant else root.tenants()
    results = [verify_tenant(root, name) for name in tenants]
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
    for result in results:
        for problem in result.problems:
            click.echo(f"error: {result.tenant}: {problem}", err=True)
    if any(result.problems for result in results):
        click.echo("hint: restore the named files from a backup; answers leave them out meanwhile", err=True)
        ctx.exit(1)
