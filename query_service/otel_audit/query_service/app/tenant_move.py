"""Moving an organization to another region while no server runs: copy, check, switch, delete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.files.blobs import make_folder, put_new, sync_folder
from otel_audit.exporter.store.lock import RootLock
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.tenant_copy import copy_tenant
from otel_audit.exporter.store.regions.tenant_removal import take_away, tenants_in_log

from ..control.database import FILE_NAME, OPERATOR, ControlDatabase
from ..control.outbox import Actor
from ..control.tenants import InvalidTenant, Tenants
from ..settings import Settings
from .core import Core


def move_tenant(settings: Settings, tenant: str, region: str, *, actor: Actor) -> None:
    """Move everything of an organization and pin it to `region`. Safe to repeat after a crash.

    Until the pin is switched the old folder counts and a copy is only a copy; from then on the new one
    counts and the old one is only a leftover. So either way one folder is whole.
    Raises StoreLocked beside a server, NoSuchTenant, InvalidTenant, CopyRefused.
    """
    if tenant == OPERATOR:
        raise InvalidTenant("the operator's own organization stays where it is", hint="move the others")
    source = _empty_the_log(settings, tenant, region)
    roots = {name: RegionRoot(path) for name, path in settings.region_roots.items()}
    database = ControlDatabase.open(settings.data_dir / FILE_NAME, create=False)
    try:
        with locked(roots[source], roots[region]):
            if tenant in tenants_in_log(roots[source]):
                raise StoreUnavailable(f"something was recorded for {tenant} meanwhile", hint="repeat it")
            if source != region:
                _copy(roots[source], roots[region], tenant)
                Tenants(database, regions=roots).moved(tenant, region, actor=actor)
            for name, root in roots.items():
                if name != region:
                    take_away(root, tenant)
                    Keyring(root.keys).forget(tenant)
    finally:
        database.close()


def _empty_the_log(settings: Settings, tenant: str, region: str) -> str:
    """Put the organization's rows into files and out of the log; the region it is pinned to now."""
    core = Core(settings, create=False)
    try:
        pinned = core.tenants.show(tenant).region
        core.tenants.check_region(region)
        core.record_waiting()
        core.store.empty_log(tenant)
        return pinned
    finally:
        core.close()


@contextmanager
def locked(*roots: RegionRoot) -> Iterator[None]:
    """Hold the locks of all roots, or none of them. Raises StoreLocked."""
    with ExitStack() as locks:
        for root in dict.fromkeys(roots):
            locks.callback(RootLock(root.run).release)
        yield


def _copy(source: RegionRoot, target: RegionRoot, tenant: str) -> None:
    take_away(target, tenant)  # what an interrupted move left
    shutil.rmtree(target.arriving, ignore_errors=True)
    if source.tenant(tenant).is_dir():
        copy_tenant(source, tenant, target.arriving)
        make_folder(target.store)
        RegionRoot(target.arriving).tenant(tenant).rename(target.tenant(tenant))
        sync_folder(target.store)
        shutil.rmtree(target.arriving)
    key = Keyring(source.keys).path(tenant)
    if key.exists():
        Keyring(target.keys).forget(tenant)
        put_new(Keyring(target.keys).path(tenant), key.read_bytes())
    Keyring(source.keys).tokens.copy_to(Keyring(target.keys).tokens, tenant)
