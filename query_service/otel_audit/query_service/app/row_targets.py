"""Where an import's rows go: to the one writer of the region root, which may be another process."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from otel_audit.exporter.store.errors import StoreLocked
from otel_audit.exporter.store.intake.handed import Intake, RowTarget, Taken
from otel_audit.exporter.store.intake.handover import HandoverClient

from ..settings import Settings
from .core import Core

# A server that starts holds the lock some seconds before it says where it listens.
_LOOK_EVERY_S: Final = 0.2


class OwnStore:
    """The store of this process, which has no maintenance thread: it is sealed as rows come."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._intake = Intake(core.store)

    def take(self, tenant: str, rows: pa.RecordBatch) -> Taken:
        """See Intake.take."""
        taken = self._intake.take(tenant, rows)
        settings = self._core.settings
        self._core.store.seal(
            tenant, due=lambda rows, size, _: rows >= settings.seal_rows or size >= settings.seal_bytes
        )
        return taken


@contextlib.contextmanager
def row_target(settings: Settings, *, wait_s: float = 10.0) -> Iterator[RowTarget]:
    """The running server's store, or this process's own while no server runs.

    wait_s: how long to wait while another process that does not listen yet owns the directory.
    Raises StoreLocked, and what opening a store raises.
    """
    deadline = time.monotonic() + wait_s
    while True:
        server = running_server(settings.data_dir)
        if server is not None:
            with contextlib.closing(server):
                yield server
            return
        try:
            core = Core(settings, create=False)
            break
        except StoreLocked:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOOK_EVERY_S)
    try:
        yield OwnStore(core)
    finally:
        core.close()


def running_server(data_dir: Path) -> HandoverClient | None:
    """A connection to the server that runs on `data_dir`, None when there is none."""
    try:
        return HandoverClient(json.loads((data_dir / "run" / "serve.json").read_bytes())["handover"])
    except (OSError, ValueError, KeyError):
        return None
