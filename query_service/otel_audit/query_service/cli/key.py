"""`otel-audit key`: the ingest keys that apps and Collectors send events with."""

from __future__ import annotations

import time
from typing import Any

import click

from ..control.ingest_keys import IngestKeys, IssuedKey, KeyInfo
from ..control.outbox import utc_text
from .context import CliContext, Duration, json_option, pass_cli, print_json, print_table


@click.group()
def key() -> None:
    """Make, rotate and revoke ingest keys."""


@key.command()
@click.option("--tenant", "tenants", multiple=True, help="Whom it may write for; repeatable.")
@click.option("--all-tenants", is_flag=True, help="It may write for every organization.")
@click.option("--create-tenants", is_flag=True, help="It also adds organizations that it names.")
@click.option("--name", default="", help="What it is for.")
@click.option("--expires", type=Duration(), metavar="90d", help="When it ends; never if left out.")
@json_option
@pass_cli
def create(
    cli: CliContext,
    tenants: tuple[str, ...],
    all_tenants: bool,
    create_tenants: bool,
    name: str,
    expires: float | None,
    as_json: bool,
) -> None:
    """Make a key and print it; it is shown this once."""
    if bool(tenants) == all_tenants:
        raise click.UsageError("give either --tenant ID or --all-tenants")
    if create_tenants and not all_tenants:
        raise click.UsageError("--create-tenants needs --all-tenants")
    with cli.control(create=True) as database:
        _print(
            IngestKeys(database).create(
                tenants or None, name=name, create_tenants=create_tenants, ttl_s=expires
            ),
            as_json,
        )


@key.command()
@click.argument("key_id")
@click.option("--overlap", type=Duration(), default="7d", show_default=True, help="How long both are valid.")
@click.option("--expires", type=Duration(), metavar="90d", help="Life of the new key, else as the old one's.")
@json_option
@pass_cli
def rotate(cli: CliContext, key_id: str, overlap: float, expires: float | None, as_json: bool) -> None:
    """Make a key that follows KEY_ID and print it; the old one ends after the overlap."""
    with cli.control() as database:
        _print(IngestKeys(database).rotate(key_id, overlap_s=overlap, ttl_s=expires), as_json)


@key.command(name="list")
@click.option("--tenant", help="Only those that may write for it.")
@json_option
@pass_cli
def list_(cli: CliContext, tenant: str | None, as_json: bool) -> None:
    """List every key, without its secret."""
    with cli.control() as database:
        found = IngestKeys(database).list(tenant)
    if as_json:
        print_json([_as_dict(item) for item in found])
        return
    rows = [
        [k.key_id, k.name, _whom(k), k.status(time.time()), utc_text(k.expires_at) or "never"] for k in found
    ]
    print_table(["KEY ID", "NAME", "TENANTS", "STATUS", "EXPIRES"], rows)


@key.command()
@click.argument("key_id")
@click.option("--compromised", is_flag=True, help="Somebody else has it: refuse it for good at once.")
@json_option
@pass_cli
def revoke(cli: CliContext, key_id: str, compromised: bool, as_json: bool) -> None:
    """End the key KEY_ID now."""
    with cli.control() as database:
        info = IngestKeys(database).revoke(key_id, compromised=compromised)
    if as_json:
        print_json(_as_dict(info))
    else:
        click.echo(f"key {info.key_id} is {info.status(time.time())}")


def _print(issued: IssuedKey, as_json: bool) -> None:
    if as_json:
        print_json({"key": issued.text, **_as_dict(issued.info)})
    else:
        click.echo(issued.text)


def _whom(info: KeyInfo) -> str:
    if info.tenants is None:
        return "(all, creates)" if info.create_tenants else "(all)"
    return ",".join(info.tenants)


def _as_dict(info: KeyInfo) -> dict[str, Any]:
    return {
        "key_id": info.key_id,
        "name": info.name,
        "tenants": None if info.tenants is None else list(info.tenants),
        "all_tenants": info.tenants is None,
        "create_tenants": info.create_tenants,
        "status": info.status(time.time()),
        "created_at": utc_text(info.created_at),
        "expires_at": utc_text(info.expires_at),
        "revoked_at": utc_text(info.revoked_at),
        "rotated_from": info.rotated_from,
    }
