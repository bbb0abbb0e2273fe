"""`otel-audit tenant`: organizations, their other names and how long they keep events."""

from __future__ import annotations

import json
from typing import Any

import click

from ..control.outbox import utc_text
from ..control.retention import parse_retention
from ..control.tenant import Tenant
from ..control.tenants import InvalidTenant, Tenants
from . import tenant_data, token_key
from .context import CliContext, json_option, pass_cli, print_json, print_table
from .policy_file import read_policy

_retention = click.option("--retention", metavar="standard=6mo,rag=3mo", help="How long events are kept.")
_export_rate = click.option("--export-rate", metavar="10/h", help="How many exports are allowed.")
_redaction = click.option(
    "--redaction",
    metavar="FILE",
    help="What becomes of which field: a TOML or JSON file, - for standard input, or 'default'.",
)
_alias = click.option("--alias", "aliases", multiple=True, help="Another name it has; repeatable.")


@click.group()
def tenant() -> None:
    """Add, change, list, hand over and delete organizations."""


tenant.add_command(tenant_data.export)
tenant.add_command(tenant_data.delete)
tenant.add_command(tenant_data.move)
tenant.add_command(token_key.rotate)


@tenant.command()
@click.argument("id")
@_alias
@click.option("--region", help="Where its data stays, for good.  [the configuration's default]")
@_retention
@_export_rate
@_redaction
@json_option
@pass_cli
def add(
    cli: CliContext,
    id: str,  # noqa: A002
    aliases: tuple[str, ...],
    region: str | None,
    retention: str | None,
    export_rate: str | None,
    redaction: str | None,
    as_json: bool,
) -> None:
    """Add the organization ID (a-z, 0-9, _ and -, a letter first)."""
    months = parse_retention(retention) if retention is not None else None
    policy = read_policy(redaction) if redaction is not None else None
    settings = cli.settings()
    with cli.control(create=True) as database:
        tenants = Tenants(database, regions=settings.region_roots, default_region=settings.default_region)
        added = tenants.add(id, aliases, region, months, export_rate or "10/h", redaction=policy)
        _show(added, as_json)


@tenant.command(name="set")
@click.argument("id")
@_alias
@click.option("--remove-alias", "gone", multiple=True, help="A name that no longer counts; repeatable.")
@_retention
@_export_rate
@_redaction
@click.option("--region", hidden=True)
@click.option("--reason", help="Why events are kept for a shorter time.")
@click.option("--now", "at_once", is_flag=True, help="Shorten now, not after 7 days.")
@json_option
@pass_cli
def set_(
    cli: CliContext,
    id: str,  # noqa: A002
    aliases: tuple[str, ...],
    gone: tuple[str, ...],
    retention: str | None,
    export_rate: str | None,
    redaction: str | None,
    region: str | None,
    reason: str | None,
    at_once: bool,
    as_json: bool,
) -> None:
    """Change the organization ID; what is not given stays."""
    if region is not None:
        raise InvalidTenant(
            "an organization stays in the region it was added to",
            hint=f"with the service stopped, 'otel-audit tenant move {id} --region {region}' moves its data",
        )
    if not (aliases or gone or retention or export_rate or redaction):
        raise click.UsageError("nothing to change was given")
    months = parse_retention(retention) if retention is not None else None
    policy = read_policy(redaction) if redaction is not None else None
    with cli.control() as database:
        changed = Tenants(database).set(
            id,
            add_aliases=aliases,
            remove_aliases=gone,
            retention=months,
            export_rate=export_rate,
            redaction=policy,
            reason=reason,
            at_once=at_once,
        )
    _show(changed, as_json)


@tenant.command(name="list")
@json_option
@pass_cli
def list_(cli: CliContext, as_json: bool) -> None:
    """List every organization."""
    with cli.control() as database:
        found = Tenants(database).list()
    if as_json:
        print_json([_as_dict(item) for item in found])
        return
    rows = [[t.id, ",".join(t.aliases), t.region, _months(t), t.export_rate] for t in found]
    print_table(["ID", "ALIASES", "REGION", "RETENTION", "EXPORTS"], rows)


@tenant.command()
@click.argument("id")
@json_option
@pass_cli
def show(cli: CliContext, id: str, as_json: bool) -> None:  # noqa: A002
    """Show the organization ID."""
    with cli.control() as database:
        _show(Tenants(database).show(id), as_json)


def _show(item: Tenant, as_json: bool) -> None:
    if as_json:
        print_json(_as_dict(item))
        return
    rows = [
        ["id", item.id],
        ["aliases", ", ".join(item.aliases) or "-"],
        ["region", item.region],
        ["retention", _months(item)],
        ["export rate", item.export_rate],
        ["redaction", item.redaction_version],
        ["created", utc_text(item.created_at) or "-"],
    ]
    for part, said in json.loads(item.redaction).items():
        entries = said.items() if isinstance(said, dict) else [(name, "on") for name in said]
        rows += [[f"{part}: {name}", action] for name, action in entries]
    for name, pending in item.retention_pending.items():
        rows.append(
            [f"{name} from {utc_text(pending.effective_at)}", f"{pending.months}mo: {pending.reason}"]
        )
    print_table(["SETTING", "VALUE"], rows)


def _months(item: Tenant) -> str:
    return ",".join(f"{name}={months}mo" for name, months in sorted(item.retention.items(), reverse=True))


def _as_dict(item: Tenant) -> dict[str, Any]:
    return {
        "id": item.id,
        "aliases": list(item.aliases),
        "region": item.region,
        "retention": dict(item.retention),
        "retention_pending": {
            name: {"months": p.months, "effective_at": utc_text(p.effective_at), "reason": p.reason}
            for name, p in item.retention_pending.items()
        },
        "export_rate": item.export_rate,
        "redaction": {"version": item.redaction_version, "policy": json.loads(item.redaction)},
        "created_at": utc_text(item.created_at),
    }
