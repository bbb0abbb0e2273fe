"""`otel-audit verify`: every file against the manifest, and the manifest's chain."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from otel_audit.exporter.store.backups.backup_list import refuse_copies
from otel_audit.exporter.store.errors import ManifestBroken
from otel_audit.exporter.store.ledger.checkpoint import deviations, read_checkpoint, uncovered
from otel_audit.exporter.store.ledger.verify import Verification, verify_tenant
from otel_audit.exporter.store.partition import DEFAULT_REGION, RegionRoot, check_tenant
from otel_audit.exporter.store.regions.known import gone, known_tenants
from otel_audit.exporter.store.regions.residency import Residence, survey

from ..control.database import FILE_NAME, ControlMissing
from ..control.tenants import NoSuchTenant, Tenants
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
    """Re-read everything: each live file's SHA-256, the chain of the manifest, and where the bytes are.

    Every region's root and write-ahead log is searched for traces of organizations of other regions.
    Exits 1 on any problem, also when a folder that held rows is gone: is its disk mounted? In a folder that
    `tenant export` made, the copy is checked alike.
    """
    refuse_copies(cli.data_dir)
    checkpoint = read_checkpoint(checkpoint_path) if checkpoint_path else None
    if checkpoint is not None and checkpoint.tenant != (tenant := tenant or checkpoint.tenant):
        raise click.UsageError(f"{checkpoint_path} is a checkpoint of {checkpoint.tenant}, not of {tenant}")
    roots, pins = cli.region_roots(), _pins(cli)
    homes = _homes(cli, roots, pins, tenant)
    tenants = list(homes)
    results = [verify_tenant(homes[name], name) for name in tenants]
    lost = {name: gone(homes[name], name) for name in tenants}
    for result in results:
        result.problems += [f"{path} held rows and is gone" for path in lost[result.tenant]]
    mine = {name: region for name, region in pins.items() if name in tenants}
    residences = {found.tenant: found for found in survey(roots, mine, read_logs=True)}
    for result in results:
        result.problems += residences[result.tenant].problems if result.tenant in residences else ()
    deviating: list[str] = []
    proof: dict[str, Any] = {}
    if checkpoint is not None:
        with contextlib.suppress(ManifestBroken):  # among the problems already
            deviating = deviations(homes[checkpoint.tenant], checkpoint)
            results[0].problems += deviating
            proof = {"unproved_events": uncovered(homes[checkpoint.tenant], checkpoint)}
    if as_json:
        found = [dataclasses.asdict(result) | _residence(residences, result.tenant) for result in results]
        print_json([each | proof for each in found])
    else:
        for result in results:
            _print(result, residences.get(result.tenant))
    if checkpoint is not None and proof and not results[0].problems and not as_json:
        click.echo(f"  extends the checkpoint of {checkpoint.time}, {_unproved(proof['unproved_events'])}")
    for result in results:
        for problem in result.problems:
            click.echo(f"error: {result.tenant}: {problem}", err=True)
    if any(result.problems for result in results):
        hint = "restore the named files from a backup; answers leave them out meanwhile"
        if any(lost.values()):
            hint = "is the disk mounted? if it is lost, restore the folder from a backup"
        elif deviating:
            hint = "leave this disk as it is, and compare it with a backup from before the checkpoint"
        click.echo(f"hint: {hint}", err=True)
        ctx.exit(1)


def _homes(
    cli: CliContext, roots: Mapping[str, RegionRoot], pins: Mapping[str, str], tenant: str | None
) -> dict[str, RegionRoot]:
    """Which organizations to verify, each with its root. Nothing to check is no proof: then it raises."""
    held = {name: root for root in roots.values() for name in (*root.tenants(), *known_tenants(root))}
    if not pins and not held:
        raise ControlMissing(
            f"there is nothing to verify in {cli.data_dir}", hint="check --data-dir and --config"
        )
    if tenant is not None and check_tenant(tenant) not in {*held, *pins}:
        raise NoSuchTenant(
            f"there is nothing of an organization {tenant!r} in {cli.data_dir}",
            hint="check --tenant, --data-dir and --config",
        )
    wanted = [tenant] if tenant is not None else sorted({*held, *pins})
    return {name: roots.get(pins.get(name, ""), held.get(name, roots[DEFAULT_REGION])) for name in wanted}


def _print(result: Verification, residence: Residence | None) -> None:
    state = "ok" if not result.problems else f"{len(result.problems)} problems"
    click.echo(
        f"{result.tenant}: {state}; {result.entries:,} manifest entries, {result.files:,} files, "
        f"{result.rows:,} events, {result.bytes:,} bytes"
    )
    for writer, head in result.heads.items():
        click.echo(f"  head of {writer}: {head}")
    if residence is not None:
        click.echo(f"  {residence.text}")


def _unproved(rows: int) -> str:
    if not rows:
        return "which covers every event in files"
    return f"which proves nothing of up to {rows:,} events that came to files later: take a new one"


def _pins(cli: CliContext) -> dict[str, str]:
    """Organization → region; empty in a folder without a control database, such as an exported copy."""
    if not (cli.data_dir / FILE_NAME).exists():
        return {}
    with cli.control_to_read() as database:
        return {tenant.id: tenant.region for tenant in Tenants(database).list()}


def _residence(residences: dict[str, Residence], tenant: str) -> dict[str, Any]:
    found = residences.get(tenant)
    return {"residence": dataclasses.asdict(found) if found else None}
