"""What the demonstration needs from the control database: organizations, an ingest key, a login link."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from ..auth.tickets import TicketService
from ..cli.token import login_url
from ..control.database import FILE_NAME, ControlDatabase
from ..control.ingest_keys import IngestKeys, IssuedKey
from ..control.outbox import os_actor
from ..control.tenants import Tenants
from .driver.cast import ACME, GLOBEX

ORGANIZATIONS: Final = (ACME, GLOBEX)
READER: Final = "auditor@acme.example"
KEY_NAME: Final = "demo"


class Grants:
    """Works beside the running service, as the `tenant`, `key` and `token` commands do."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._database = ControlDatabase.open(data_dir / FILE_NAME)
        self._keys = IngestKeys(self._database)

    def organizations(self) -> None:
        """Add those that are missing."""
        for name in ORGANIZATIONS:
            Tenants(self._database).ensure(name, actor=os_actor())

    def ingest_key(self) -> IssuedKey:
        """A key for both organizations; keys that an earlier run could not take back end now."""
        for info in self._keys.list(ACME):
            if info.name == KEY_NAME and info.status(time.time()) == "active":
                self._keys.revoke(info.key_id)
        return self._keys.create(ORGANIZATIONS, name=KEY_NAME)

    def take_back(self, key: IssuedKey) -> None:
        """End the key of this run."""
        self._keys.revoke(key.info.key_id)

    def console_url(self) -> str:
        """An address that logs an administrator of the first organization in, once, within ten minutes."""
        return login_url(self._data_dir, TicketService(self._database).create(ACME, READER, "admin"))

    def close(self) -> None:
        """Close the database."""
        self._database.close()
