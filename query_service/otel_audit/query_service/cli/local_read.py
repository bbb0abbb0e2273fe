"""Reading the store from a command: beside a running server or without one, and always recorded."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from otel_audit.exporter.redaction.actions import acted, token
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.known import refuse_gone

from ..auth.principal import Principal
from ..auth.request_facts import RequestFacts
from ..control.database import ControlDatabase
from ..control.outbox import os_actor
from ..control.own_events import SEARCH_PURPOSE, read_event
from ..control.reads import WaitingReads
from ..control.tenants import Tenants
from ..engine import Engine
from ..filters import Filters
from .context import CliContext


class LocalRead:
    """One organization's events as a command sees them."""

    def __init__(self, cli: CliContext, database: ControlDatabase, tenant: str) -> None:
        """Raises NoSuchTenant, InvalidTenant, PolicyError, ConfigError, WrongRegion, DataGone."""
        self.region = Tenants(database).show(tenant).region
        self.root = cli.region_root(self.region)
        refuse_gone(self.root, tenant)
        self.tenant = tenant
        self.source = StoreReader(self.root)
        self.engine = Engine()
        self._reads = WaitingReads(self.root.reads)
        self._keys = Keyring(self.root.keys)
        self._policy = Tenants(database).redaction_of(tenant)

    def finding(self, filters: Filters) -> Filters:
        """The filters as they find tokenised values too."""
        return filters.with_tokens(partial(self._keys.tokens.tokens, self.tenant))

    def record(self, action: str, details: Mapping[str, Any]) -> None:
        """Make durable that this OS user reads; do it before anything is shown.

        action: `search`, `read`, `export` or `stream`. The server takes the event into the trail.
        """
        person = Principal(os_actor().user_id, self.tenant, "admin", "token", "os")
        facts = RequestFacts(None, None, f"otel-audit on {socket.gethostname()}", None, None)
        key = self._keys.key(self.tenant, SEARCH_PURPOSE)
        event = read_event(self.tenant, person, facts, action, self._quoted(details), time.time_ns(), key)
        self._reads.put(self.tenant, event)

    def _quoted(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """The details as the organization's policy lets them be written down: they wait on its disk."""
        asked = dict(details.get("filters", {}))
        for name, action in self._policy.of_paths("attributes").items():
            column = name.removeprefix("otel_audit.filters.")
            if column != name and column in asked:
                asked[column] = [acted(action, v, secret=False, tokenise=self._token) for v in asked[column]]
        return {**details, "filters": asked} if asked else dict(details)

    def _token(self, value: str) -> str:
        made_with = self._keys.token_key(self.tenant)
        return token(value, made_with.number, made_with.key)


def filter_details(filters: Filters) -> dict[str, Any]:
    """What a read's event says about its filters."""
    return {"filters": {name: list(values) for name, values in filters.chosen}}
