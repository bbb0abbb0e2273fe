"""The manifest: which files make up a tenant's rows, as numbered create-only entries.

    <tenant folder>/_ledger/<writer>/<number>.json               one entry
    <tenant folder>/_ledger/<writer>/<first>-<last>.ndjson       a pack: 1,000 old entries, one a line
    <tenant folder>/_ledger/_state/<counter>.json                what the entries so far add up to

Each entry carries the SHA-256 of the one before it, so none can be changed, dropped or inserted
unseen. Live files = added - removed over all entries; a removal is final and names are never reused.
An entry of kind `seal` covers one contiguous sequence range of its writer with all its files.
The state is derived: it spares start-up the reading of all history, and `verify` reads the history
all the same. Format: docs/parquet-layout.md.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..errors import ManifestBroken, StoreUnavailable
from ..files.blobs import Blobs
from ..partition import RegionRoot
from .entry import (
    MANIFEST_VERSION,
    Chain,
    Entry,
    ManifestFile,
    TenantManifest,
    encode_entry,
    entry_of,
    text_of,
)
from .history import history, numbered
from .state import latest_state

log = logging.getLogger(__name__)


class Manifest:
    """Reads and extends the manifests of a region root. Not thread-safe: the store holds the lock."""

    def __init__(self, root: RegionRoot, blobs: Blobs) -> None:
        self._root, self._blobs = root, blobs
        self.failure: str | None = None
        """Why nothing can be entered now, None while it can."""
        # The key of an entry that may be on disk without being known to be durable, "" for none.
        self._in_doubt = ""
        self._until_restart = False

    def load(self, tenant: str) -> TenantManifest:
        """The live files of a tenant, from the last state on. Raises ManifestBroken, NewerData."""
        state = latest_state(self._blobs, self._root, tenant) or TenantManifest(tenant)
        return self._extend(state)

    def replay(self, tenant: str, seen: Callable[[Entry], None] = lambda _: None) -> TenantManifest:
        """The same from the first entry on; time grows with history. seen: told of every entry."""
        return self._extend(TenantManifest(tenant), seen)

    def _extend(
        self, state: TenantManifest, seen: Callable[[Entry], None] = lambda _: None
    ) -> TenantManifest:
        # A removal may stand in another writer's chain than the addition: add all first.
        removals: list[str] = []
        for writer in self._writers(state.tenant):
            after = state.chains.setdefault(writer, Chain())
            for raw in history(self._blobs, self._root.ledger_key(state.tenant, writer), after.number):
                entry = entry_of(raw, state.tenant)
                self._check_follows(state, writer, entry)
                self._advance(state, entry, raw)
                removals += [item.path for item in entry.remove]
                seen(entry)
        self._remove(state, removals)
        return state

    def _writers(self, tenant: str) -> list[str]:
        folder = self._root.ledger(tenant)
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return [name for name in names if not name.startswith("_")]

    @staticmethod
    def _check_follows(state: TenantManifest, writer: str, entry: Entry) -> None:
        chain = state.chains[writer]
        expected = (state.tenant, writer, chain.number + 1, chain.head)
        if (entry.tenant, entry.writer, entry.number, entry.previous) != expected:
            raise ManifestBroken(
                f"manifest entry {chain.number + 1} of {state.tenant} does not follow the one before it",
                tenant=state.tenant,
                entry=f"{writer}/{chain.number + 1:012d}",
            )

    def _advance(self, state: TenantManifest, entry: Entry, raw: bytes) -> None:
        folder = self._root.tenant(state.tenant)
        for item in entry.add:
            file = ManifestFile.from_item(item, folder)
            state.files[file.ref.path] = file
        chain = state.chains.setdefault(entry.writer, Chain())
        chain.number = entry.number
        chain.head = hashlib.sha256(raw).hexdigest()
        if entry.seq_to is not None:
            chain.sealed_to = entry.seq_to

    def _remove(self, state: TenantManifest, paths: Iterable[str]) -> None:
        folder = self._root.tenant(state.tenant)
        for path in paths:
            state.files.pop(folder / path, None)

    def commit(
        self,
        state: TenantManifest,
        writer: str,
        kind: str,
        *,
        add: Sequence[ManifestFile] = (),
        remove: Sequence[ManifestFile] = (),
        seq: tuple[int, int] | None = None,
        facts: Mapping[str, Any] | None = None,
        now: datetime,
    ) -> bytes:
        """Make one entry durable; `apply` makes it visible.

        kind: `seal` (seq is its range), `compact` or `retention`. facts: policy, actor, reason.
        Returns the entry's bytes. Raises ManifestBroken when another process wrote that number, OSError
        with nothing entered, StoreUnavailable as `settle` does.
        """
        self.settle()
        folder = self._root.tenant(state.tenant)
        chain = state.chains.get(writer, Chain())
        entry = {
            "version": MANIFEST_VERSION,
            "tenant": state.tenant,
            "writer": writer,
            "number": chain.number + 1,
            "previous": chain.head,
            "kind": kind,
            "created": text_of(now),
            "seq_from": seq[0] if seq else None,
            "seq_to": seq[1] if seq else None,
            "add": [msgspec.to_builtins(file.to_item(folder)) for file in add],
            "remove": [msgspec.to_builtins(file.to_item(folder)) for file in remove],
            "facts": dict(facts or {}),
        }
        raw = encode_entry(entry)
        key = f"{self._root.ledger_key(state.tenant, writer)}/{numbered(chain.number + 1)}"
        try:
            self._blobs.put_new(key, raw)
        except FileExistsError as error:
            raise ManifestBroken(
                f"manifest entry {chain.number + 1} of {state.tenant} exists already",
                tenant=state.tenant,
                entry=key,
            ) from error
        except OSError:
            self._in_doubt = key
            self.settle()
            raise
        return raw

    def settle(self) -> None:
        """Take back an entry that may be there but is not known to be durable.

        The next one would get the same number and other content, and a restart may find either: until this
        succeeds no file may come or go. Raises StoreUnavailable.
        """
        if not self._in_doubt:
            return
        hint = "it is tried again; restart the server if it lasts"
        if not self._until_restart:
            try:
                self._blobs.delete(self._in_doubt)
            except OSError as error:
                # A disk that broke a promise once may have forgotten what it is asked to sync again.
                self._until_restart = error.errno == errno.EIO
                self.failure = "a manifest entry could be neither finished nor taken back"
                log.error("%s: %s", self.failure, error)
            else:
                self._in_doubt, self.failure = "", None
                return
        hint = "check the disk, then restart the server" if self._until_restart else hint
        raise StoreUnavailable(str(self.failure), hint=hint, retry_after_s=30)

    def apply(self, state: TenantManifest, raw: bytes) -> None:
        """Make a committed entry visible in `state`."""
        entry = entry_of(raw, state.tenant)
        self._advance(state, entry, raw)
        self._remove(state, [item.path for item in entry.remove])


def utc(seconds: float) -> datetime:
    """The moment `seconds` after 1970-01-01 UTC."""
    return datetime.fromtimestamp(seconds, UTC)
