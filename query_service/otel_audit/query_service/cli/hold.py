"""`otel-audit hold`: keep events whatever their retention says, and let go of them again."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from ..control.holds import Hold, Holds
from ..control.outbox import utc_text
from .context import CliContext, json_option, pass_cli, print_json, print_table
from .filter_options import chosen_items, filter_options


@click.group()
def hold() -> None:
    """Keep events whatever their retention, and let go again."""


@hold.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option("--name", required=True, help="What the hold is called, once and for all.")
@click.option("--reason", required=True, help="Why, for the audit trail.")
@json_option
@filter_options
@pass_cli
def add(cli: CliContext, /, tenant: str, name: str, reason: str, as_json: bool, **chosen: Any) -> None:
    """Hold the events of the filters, past and future; all of the organization's without one.

    In force at once. Times are absolute: --from and --to, no --range.
    """
    with cli.control() as database:
        made = Holds(database).add(tenant, name, reason, chosen_items(chosen))
    _print(made, as_json)


@hold.command(name="list")
@click.option("--tenant", metavar="ID", help="Only those of this organization.")
@json_option
@pass_cli
def list_(cli: CliContext, tenant: str | None, as_json: bool) -> None:
    """List every hold, released ones too."""
    with cli.control() as database:
        found = Holds(database).list(tenant)
    now = time.time()
    if as_json:
        print_json([item.as_dict(now) for item in found])
        return
    rows = [
        [h.tenant, h.name, h.status(now), utc_text(h.effective_at) or "-", _filters(h), h.reason]
        for h in found
    ]
    print_table(["TENANT", "NAME", "STATUS", "ENDS", "FILTERS", "REASON"], rows)


@hold.command()
@click.argument("name")
@click.option("--tenant", metavar="ID", help="Whose, when several organizations have a hold of that name.")
@click.option("--reason", required=True, help="Why, for the audit trail.")
@json_option
@pass_cli
def release(cli: CliContext, name: str, tenant: str | None, reason: str, as_json: bool) -> None:
    """Let go of the hold NAME. It still holds for 7 days, or as long as the setting says."""
    delay_s = _release_delay_s(cli)
    with cli.control() as database:
        ended = Holds(database, release_delay_s=delay_s).release(name, reason, tenant=tenant)
    _print(ended, as_json)


def _release_delay_s(cli: CliContext) -> float:
    """The running server's setting, else this command's own: nobody shortens it by forgetting --config."""
    own = cli.settings().hold_release_delay_s
    try:
        return float(json.loads((cli.data_dir / "run" / "serve.json").read_bytes())["hold_release_delay_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return own


def _print(item: Hold, as_json: bool) -> None:
    if as_json:
        print_json(item.as_dict(time.time()))
        return
    if item.released_at is None:
        click.echo(f"hold {item.name} of {item.tenant} is in force: {_filters(item)}")
    else:
        click.echo(f"hold {item.name} of {item.tenant} ends at {utc_text(item.effective_at)}")


def _filters(item: Hold) -> str:
    return " ".join(f"{name}={','.join(values)}" for name, values in item.chosen.items()) or "everything"
