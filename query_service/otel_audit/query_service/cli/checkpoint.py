"""`otel-audit checkpoint`: where an organization's chain ends, to be kept elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from otel_audit.exporter.store.errors import StoreError
from otel_audit.exporter.store.ledger.checkpoint import encode_checkpoint, take_checkpoint
from otel_audit.exporter.store.regions.known import refuse_gone

from ..control.tenants import Tenants
from .context import CliContext, pass_cli


@click.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; stdout if left out.",
)
@pass_cli
def checkpoint(cli: CliContext, tenant: str, output: Path | None) -> None:
    """Print where the chain of an organization ends now: entry, SHA-256 and rows of each writer, as JSON.

    Kept where this machine cannot write, it lets `verify --checkpoint` find history that was rewritten and a
    disk that was put back to an earlier state. Rows still in the write-ahead log are not in it yet.
    """
    with cli.control_to_read() as database:
        root = cli.region_root(Tenants(database).show(tenant).region)
    refuse_gone(root, tenant)
    taken = take_checkpoint(root, tenant, datetime.now(UTC))
    if not taken.writers:
        raise StoreError(
            f"nothing of {tenant} is in files yet",
            hint="check --tenant and --data-dir; rows are written to files within ten minutes",
        )
    if output is None:
        click.echo(encode_checkpoint(taken), nl=False)
        return
    with output.open("xb") as file:  # never over an older one
        file.write(encode_checkpoint(taken))
