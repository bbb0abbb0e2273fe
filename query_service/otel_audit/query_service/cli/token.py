"""`otel-audit token`: bearer tokens for the API and one-time links into the console."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from ..auth.principal import SESSION_TTL_S
from ..auth.tickets import TicketInfo, TicketService
from ..auth.tokens import DEFAULT_TTL_S, TokenInfo, TokenService
from ..control.database import OPERATOR, ControlDatabase
from ..control.outbox import os_actor, utc_text
from ..control.tenants import NoSuchTenant, Tenants
from ..settings import Settings
from .context import CliContext, Duration, json_option, pass_cli, print_json, print_table

KEY_FILE: Final = Path("keys") / "token.key"
# A server that listens everywhere is reached from here by its loopback address.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104


@click.group()
def token() -> None:
    """Make and revoke bearer tokens and login links."""


@token.command()
@click.option("--org", metavar="ID", help="The organization whose trail it opens.")
@click.option("--user", metavar="EMAIL", help="Who will use it; their reads are recorded under this name.")
@click.option("--role", type=click.Choice(["admin", "auditor", "member"]), help="What they may do there.")
@click.option("--operator", is_flag=True, help="For running the service: no organization's trail.")
@click.option("--ttl", type=Duration(), metavar="8h", help="How long it lasts; 8h if left out.")
@click.option("--console", is_flag=True, help="Print a one-time login link (10 minutes) instead.")
@json_option
@pass_cli
def create(
    cli: CliContext,
    org: str | None,
    user: str | None,
    role: str | None,
    operator: bool,
    ttl: float | None,
    console: bool,
    as_json: bool,
) -> None:
    """Make a token, or with --console a login link, and print it; it is shown this once."""
    if operator and (org is not None or role is not None):
        raise click.UsageError("--operator goes without --org and --role")
    if not operator and not (org and user and role):
        raise click.UsageError("give --org, --user and --role, or --operator")
    who, what = user or os_actor().user_id, role or OPERATOR
    with cli.control(create=operator) as database:
        if org is not None:
            _check_organization(database, org)
        if console:
            tickets = TicketService(database)
            ticket, info = tickets.create_with_id(org, who, what, session_ttl_s=ttl or SESSION_TTL_S)
            _print("url", login_url(cli.data_dir, ticket), info, as_json)
        else:
            tokens = TokenService(database, cli.data_dir / KEY_FILE)
            text, issued = tokens.issue_with_id(org, who, what, ttl or DEFAULT_TTL_S)
            _print("token", text, issued, as_json)


@token.command(name="list")
@json_option
@pass_cli
def list_(cli: CliContext, as_json: bool) -> None:
    """List tokens and login links, without their secrets."""
    with cli.control() as database:
        tokens = TokenService(database, cli.data_dir / KEY_FILE)
        found: list[TokenInfo | TicketInfo] = [*tokens.list(), *TicketService(database).list()]
    if as_json:
        print_json([_as_dict(item) for item in found])
        return
    rows = [
        [i.id, _kind(i), i.org or "(operator)", i.user, i.role, _status(i), utc_text(i.expires_at) or ""]
        for i in found
    ]
    print_table(["ID", "KIND", "ORG", "USER", "ROLE", "STATUS", "EXPIRES"], rows)


@token.command()
@click.argument("id")
@pass_cli
def revoke(cli: CliContext, id: str) -> None:  # noqa: A002
    """End the token or login link ID, and every console session it opened."""
    with cli.control() as database:
        tokens = TokenService(database, cli.data_dir / KEY_FILE)
        if not tokens.revoke(id) and not TicketService(database).revoke(id):
            raise click.ClickException("there is no token of that id; see 'otel-audit token list'")
    click.echo(f"{id} is revoked")


def login_url(data_dir: Path, ticket: str) -> str:
    """The address that logs in with `ticket`: public_url, else the running server's, else the default."""
    settings = Settings.load(data_dir)
    try:
        running = json.loads((data_dir / "run" / "serve.json").read_bytes())
    except (OSError, ValueError):
        running = {}
    running = running if isinstance(running, dict) else {}
    origin = settings.public_url or running.get("public_url")
    if not origin:
        host, _, port = str(running.get("http") or settings.http).rpartition(":")
        host = _LOOPBACK.get(host, host)
        origin = f"http://{host}:{port}"
    return f"{str(origin).rstrip('/')}/login?ticket={quote(ticket)}"


def _check_organization(database: ControlDatabase, org: str) -> None:
    if org == OPERATOR:
        raise click.UsageError("the operator's own trail is opened by --operator")
    if not Tenants(database).exists(org):
        raise NoSuchTenant(f"there is no organization {org!r}", hint=f"'otel-audit tenant add {org}' adds it")


def _print(name: str, secret: str, info: TokenInfo | TicketInfo, as_json: bool) -> None:
    if as_json:
        print_json({name: secret, **_as_dict(info)})
    else:
        click.echo(secret)


def _kind(info: TokenInfo | TicketInfo) -> str:
    return "token" if isinstance(info, TokenInfo) else "login link"


def _status(info: TokenInfo | TicketInfo) -> str:
    if info.revoked_at is not None:
        return "revoked"
    if isinstance(info, TicketInfo) and info.redeemed_at is not None:
        return "used"
    return "expired" if info.expires_at <= time.time() else "active"


def _as_dict(info: TokenInfo | TicketInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "kind": _kind(info).replace(" ", "_"),
        "org": info.org,
        "user": info.user,
        "role": info.role,
        "status": _status(info),
        "created_at": utc_text(info.created_at),
        "expires_at": utc_text(info.expires_at),
        "revoked_at": utc_text(info.revoked_at),
    }
