"""Regions: one store a root, and each tenant's rows in the store of its region and nowhere else."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TypeVar

import pyarrow as pa

from otel_audit.instrumentation.errors import AuditError

from ...wal.files import OS, FileSystem
from ..errors import StoreUnavailable
from ..partition import RegionRoot
from ..snapshot import Snapshot
from ..store import Listener, Store
from ..upkeep.scrub import Scrubbed
from .claim import claim_root
from .keyring import Keyring
from .known import refuse_gone
from .tenant_removal import Removed, empty_log
from .token_keys import TokenKey

log = logging.getLogger(__name__)

RegionOf = Callable[[str], str | None]
"""Tenant → the region it is pinned to, None when there is no such tenant. May raise any AuditError."""

Due = Callable[[int, int, float], bool]
T = TypeVar("T")


class RegionStores:
    """A store for every region behind the surface of one. Thread-safe, as Store is."""

    def __init__(
        self,
        roots: Mapping[str, RegionRoot],
        region_of: RegionOf,
        *,
        lock_timeout_s: float = 0.0,
        fs: FileSystem = OS,
        giving_up: str | None = None,
    ) -> None:
        """Open all roots. fs: the file system under them. giving_up: a tenant whose folder may be gone.

        Raises WrongRegion, DataGone and what Store raises; then none stays open.
        """
        self.roots = dict(roots)
        self._region_of = region_of
        # A pin never changes while a process holds the roots. Bounded by the tenants there are.
        self._pins: dict[str, str] = {}
        self._gone: set[str] = set()
        self._stores: dict[str, Store] = {}
        try:
            for region, root in self.roots.items():
                claim_root(root, region)
                refuse_gone(root, giving_up=giving_up)
                self._stores[region] = Store(
                    root, lock_timeout_s=lock_timeout_s, accepts=partial(self._belongs, region), fs=fs
                )
        except BaseException:
            with contextlib.suppress(Exception):  # logged; why it did not open says more
                self.close()
            raise

    def region(self, tenant: str) -> str:
        """The tenant's region. Raises StoreUnavailable when there is none now."""
        region = self._pins.get(tenant) or self._look_up(tenant)
        if region not in self._stores or tenant in self._gone:
            raise StoreUnavailable("the organization has no region here", hint="see 'otel-audit doctor'")
        return self._pins.setdefault(tenant, region)

    def store(self, tenant: str) -> Store:
        """The one store of a tenant. Raises StoreUnavailable."""
        return self._stores[self.region(tenant)]

    @property
    def stores(self) -> tuple[Store, ...]:
        """The store of every region, for duties that each does by itself."""
        return tuple(self._stores.values())

    def append(self, rows: Mapping[str, pa.RecordBatch], *, own: bool = False) -> None:
        """Store rows of one or more tenants, each in its region; see Store.append.

        Rows of several regions are acknowledged together. When one region refuses after another has stored
        its part, the answer is a refusal, and the repeat adds nothing where the part is stored already.
        Raises StoreUnavailable.
        """
        parts: dict[str, dict[str, pa.RecordBatch]] = {}
        for tenant, batch in rows.items():
            parts.setdefault(self.region(tenant), {})[tenant] = batch
        for region in parts:
            # What is known to fail is refused before anything is stored.
            store = self._stores[region]
            if store.failure is not None:
                raise StoreUnavailable(f"region {region}: {store.failure}", hint="see the server's log")
            store.check_room()
        for region, part in parts.items():
            self._stores[region].append(part, own=own)

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]:
        """See Contents.stored."""
        return self.store(tenant).stored(tenant, event_ids)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See Store.subscribe; each region calls from a thread of its own."""
        stops = [store.subscribe(listener) for store in self._stores.values()]

        def stop() -> None:
            for each in stops:
                each()

        return stop

    def snapshot(
        self,
        tenant: str,
        *,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        as_of: Mapping[str, int] | None = None,
        text: str | None = None,
    ) -> Snapshot:
        """See SnapshotSource.snapshot."""
        return self.store(tenant).snapshot(
            tenant, time_from=time_from, time_to=time_to, as_of=as_of, text=text
        )

    def seal(self, tenant: str | None = None, *, due: Due | None = None) -> int:
        """See Store.seal. A region that fails does not keep the others from being sealed."""
        if tenant is not None:
            return self.store(tenant).seal(tenant, due=due)
        return sum(self._each(lambda store: store.seal(due=due)))

    def compact(self, *, merges_max: int | None = None) -> int:
        """See Store.compact; merges_max: in each region."""
        return sum(self._each(lambda store: store.compact(merges_max=merges_max)))

    def tidy(self) -> None:
        """See Store.tidy."""
        self._each(lambda store: store.tidy())

    def scrub(self, *, files_max: int | None = None) -> Scrubbed:
        """See Store.scrub; files_max: in each region."""
        done = Scrubbed()
        for part in self._each(lambda store: store.scrub(files_max=files_max)):
            done.files, done.bytes = done.files + part.files, done.bytes + part.bytes
            done.damages += part.damages
        return done

    def remove_tenant(self, tenant: str, region: str) -> Removed:
        """Delete everything of a tenant in its region; see Store.remove_tenant. Safe to repeat."""
        self._gone.add(tenant)
        return self._stores[region].remove_tenant(tenant)

    def empty_log(self, tenant: str) -> None:
        """Get every row of a tenant who sends nothing out of the log; see tenant_removal.empty_log."""
        store = self.store(tenant)
        empty_log(store.root, tenant, store.wal, store.seal)

    @property
    def hot_rows(self) -> int:
        return sum(store.hot_rows for store in self._stores.values())

    @property
    def live_files(self) -> int:
        return sum(store.live_files for store in self._stores.values())

    def look_at_files(self) -> None:
        """See Store.look_at_files."""
        self._each(lambda store: store.look_at_files())

    @property
    def damages(self) -> list[str]:
        """Live files known to be damaged and regions that cannot acknowledge, one line each."""
        down = [f"region {name}: {store.failure}" for name, store in self._stores.items() if store.failure]
        return down + [line for store in self._stores.values() for line in store.damages]

    @property
    def failure(self) -> str | None:
        """Why nothing can be acknowledged now; None while any region can."""
        failures = [store.failure for store in self._stores.values()]
        return None if None in failures else "; ".join(filter(None, failures))

    def close(self) -> None:
        """See Store.close. A region that fails does not keep the others from being closed."""
        self._each(lambda store: store.close())

    def _look_up(self, tenant: str) -> str | None:
        try:
            return self._region_of(tenant)
        except AuditError as error:
            raise StoreUnavailable(error.message, hint=error.hint) from error

    def _belongs(self, region: str, tenant: str) -> bool:
        # A tenant that was removed, or never added, is pinned to no other region: it may be sealed here.
        return (self._pins.get(tenant) or self._look_up(tenant)) in (None, region)

    def _each(self, duty: Callable[[Store], T]) -> list[T]:
        """Do it in every region; what failed first is raised when all had their turn."""
        done, failed = [], None
        for region, store in self._stores.items():
            try:
                done.append(duty(store))
            except Exception as error:  # noqa: BLE001 - one region's disk is no other's affair
                log.error("region %s: %s", region, error)
                failed = failed or error
        if failed is not None:
            raise failed
        return done


class RegionKeys:
    """Tenants' keys, each under the root of its region."""

    def __init__(self, stores: RegionStores) -> None:
        self._stores = stores
        self._rings = {region: Keyring(root.keys) for region, root in stores.roots.items()}

    def key(self, tenant: str, purpose: str) -> bytes:
        """See Keyring.key. Raises StoreUnavailable too."""
        return self._rings[self._stores.region(tenant)].key(tenant, purpose)

    def token_key(self, tenant: str) -> TokenKey:
        """See TokenKeys.current. Raises StoreUnavailable too."""
        return self._rings[self._stores.region(tenant)].token_key(tenant)

    def tokens_of(self, tenant: str, value: str) -> tuple[str, ...]:
        """See TokenKeys.tokens. Raises StoreUnavailable too."""
        return self._rings[self._stores.region(tenant)].tokens.tokens(tenant, value)

    def forget(self, tenant: str, region: str) -> None:
        """See Keyring.forget."""
        self._rings[region].forget(tenant)
