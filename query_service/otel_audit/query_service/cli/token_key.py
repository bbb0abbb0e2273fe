"""`otel-audit tenant rotate-token-key`: new tokens get a new key, old ones are still found."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import click

from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.token_keys import TokenKey, TokenKeys

from ..control.database import ControlDatabase
from ..control.holds import Holds
from ..control.outbox import Change, os_actor, put_change
from ..control.tenants import Tenants
from .context import CliContext, json_option, pass_cli, print_json

# Retention runs hourly and goes by calendar days; what waits in the log is younger than that by far.
_MARGIN: Final = timedelta(days=7)
# An event may be dated so far ahead of its receipt.
_AHEAD: Final = timedelta(hours=2)
_MONTH_MAX: Final = timedelta(days=31)


@click.command(name="rotate-token-key")
@click.argument("id")
@json_option
@pass_cli
def rotate(cli: CliContext, id: str, as_json: bool) -> None:  # noqa: A002
    """Make new tokens of the organization ID with a new key, within a second.

    Filters find what was made with the old keys too. An old key is deleted by a later rotation, once nothing
    made with it can be left: it was replaced longer ago than the longest retention, no older event is stored,
    and no hold is in force.
    """
    with cli.control() as database:
        root = cli.region_root(Tenants(database).show(id).region)
        keys = Keyring(root.keys).tokens
        gone = _unused(database, root, keys, id)
        before = max((key.number for key in keys.all(id)), default=None)
        change = Change(
            "system",
            "config_change",
            f"token key of organization {id} rotated",
            ("tenant", id, None),
            {"token_key": (before, (before or 0) + 1)},
            {"otel_audit.token_keys_deleted": [key.number for key in gone]},
        )
        # The keys come last in the transaction: what cannot be recorded is not done.
        with database.write() as connection:
            put_change(connection, [id], change, actor=os_actor(), now=time.time())
            keys.remove(id, gone)
            made = keys.rotate(id)
        kept = [key.number for key in keys.all(id)]
    if as_json:
        print_json({"tenant": id, "number": made.number, "kept": kept, "deleted": [k.number for k in gone]})
    else:
        click.echo(f"new tokens of {id} begin with tok_{made.number}_; keys kept: {len(kept)}")


def _unused(
    database: ControlDatabase, root: RegionRoot, keys: TokenKeys, tenant: str
) -> tuple[TokenKey, ...]:
    """Old keys that nothing stored can have been made with."""
    now = datetime.now(UTC)
    months = max(Tenants(database).retention_of(tenant, now).values())
    old = keys.replaced_before(tenant, now - months * _MONTH_MAX - _MARGIN)
    if not old or Holds(database).active(tenant, now):
        return ()
    stored = Manifest(root, LocalBlobs(root.path)).load(tenant).files.values()
    oldest = min((file.ref.time_min for file in stored), default=now)
    replaced = {key.number: after.created for key, after in pairwise(keys.all(tenant))}
    return tuple(key for key in old if replaced[key.number] + _AHEAD < oldest)
