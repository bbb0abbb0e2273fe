"""`otel-audit doctor`: what would silently not be recorded, on the app's side and the server's."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.redaction.tenant_policy import parse_policy
from otel_audit.exporter.startup import Check, app_checks, report
from otel_audit.exporter.store.errors import DataGone, StoreError
from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.known import refuse_gone
from otel_audit.exporter.store.regions.residency import survey
from otel_audit.instrumentation.errors import AuditError

from ..app.local_control import ask_server
from ..control.deletions import Deletions
from ..control.tenant import Tenant
from ..control.tenants import Tenants
from .context import CliContext, pass_cli


@click.command()
@click.pass_context
@pass_cli
def doctor(cli: CliContext, ctx: click.Context) -> None:
    """Check the app's settings in this environment and the data directory. Exits 1 on any finding."""
    ctx.exit(report([*app_checks(os.environ), *server_checks(cli)]))


def server_checks(cli: CliContext) -> Iterator[Check]:
    """Findings about a data directory; one line when there is none."""
    root = RegionRoot(cli.data_dir)
    if not root.path.is_dir():
        yield Check("data", None, f"{root.path} is not there yet: `otel-audit serve` makes it")
        return
    yield _settings(cli)
    yield Check("data", os.access(root.path, os.W_OK), f"{root.path}", "make it writable for this user")
    yield from _regions(cli)
    yield _server(root)


def _settings(cli: CliContext) -> Check:
    try:
        cli.settings()
    except AuditError as error:
        return Check("config", False, error.message, error.hint)
    return Check("config", True, "settings of this environment can be used")


def _keys(folder: Path) -> Iterator[Check]:
    open_ = [
        path for path in folder.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    message = "readable by their owner only" if not open_ else f"{open_[0]} is readable by others"
    yield Check("keys", not open_, message, f"chmod 600 {open_[0]}" if open_ else "")


def _regions(cli: CliContext) -> Iterator[Check]:
    try:
        roots = cli.region_roots()
        with cli.control() as database:
            tenants = Tenants(database)
            known = tenants.list()
            pins = {tenant.id: tenant.region for tenant in known}
            leaving = Deletions(database).unfinished()
    except AuditError as error:
        yield Check("regions", False, error.message, error.hint)
        return
    for region, root in roots.items():
        yield from _keys(root.keys)
        yield from _manifests(root)
        yield _folders(region, root)
        writable = os.access(root.path, os.W_OK) or not root.path.exists()
        yield Check("region", writable, f"{region} at {root.path}", "make it writable for this user")
    yield from _policies(known)
    for item in leaving:
        again = f"otel-audit tenant delete {item.tenant} --yes {item.tenant}"
        yield Check("deletion", False, f"the deletion of {item.tenant} has not ended", f"repeat it: {again}")
    for residence in survey(roots, pins, read_logs=True):
        hint = "keep the right one, check it with 'otel-audit verify', then delete the other by hand"
        yield Check("tenant", not residence.elsewhere, f"{residence.tenant}: {residence.text}", hint)
    stored = {tenant for root in roots.values() for tenant in root.tenants()}
    yield _strangers(sorted(stored - pins.keys() - {item.tenant for item in leaving}), len(pins))


def _folders(region: str, root: RegionRoot) -> Check:
    try:
        refuse_gone(root)
    except DataGone as error:
        return Check("folders", False, error.message, error.hint)
    return Check("folders", True, f"every folder of region {region} that held rows is there")


def _policies(tenants: Iterable[Tenant]) -> Iterator[Check]:
    """Policies that this release cannot use: events of those organizations are refused."""
    for tenant in tenants:
        try:
            load_rules(enable=parse_policy(tenant.redaction).enable)
        except AuditError as error:
            again = f"nothing of it is stored until: otel-audit tenant set {tenant.id} --redaction FILE"
            yield Check("redaction", False, f"policy of {tenant.id}: {error.message}", again)


def _manifests(root: RegionRoot) -> Iterator[Check]:
    for tenant in root.tenants():
        try:
            Manifest(root, LocalBlobs(root.path)).load(tenant)
        except StoreError as error:
            yield Check("manifest", False, error.message, error.hint)


def _strangers(strangers: list[str], known: int) -> Check:
    return Check(
        "tenants",
        not strangers,
        f"{known} known" if not strangers else f"data without a tenant: {', '.join(strangers)}",
        "add them: otel-audit tenant add ID",
    )


def _server(root: RegionRoot) -> Check:
    path = root.run / "serve.json"
    if not path.exists():
        return Check("server", None, "not running on this data directory")
    if ask_server(root.path, "ping") is None:
        return Check("server", None, "not running; it was ended without a shutdown, the next start recovers")
    return Check("server", True, f"running, console at http://{json.loads(path.read_bytes())['http']}")
