"""Background work in a thread of its own: indexing, synchronizing sources, expiring sessions."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from otel_audit.instrumentation import audit

from ..call import new_id
from ..content.retrieval import split, words
from ..database import Database

WAITING_MAX: Final = 200
"""Jobs beyond this are refused and recorded as failed: somebody floods, or the thread hangs."""
SWEEP_EVERY_S: Final = 1.0
FETCH_TIMEOUT_S: Final = 3.0
FETCH_BYTES_MAX: Final = 1 << 20
_SERVICE: Final = "svc-quire-worker"


class JobFailed(Exception):
    """Why a job could not be done, in words for the trail."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do for a target, as it stood in the request that asked for it."""

    name: str
    target: tuple[str, str, str]
    asker: str
    run: Callable[[], dict[str, int]]
    asked_in: contextvars.Context


class Jobs:
    """Runs one job after the other. sweep: called every second between them."""

    def __init__(self, database: Database, sweep: Callable[[], object]) -> None:
        self._database = database
        self._sweep = sweep
        self._waiting: queue.Queue[_Job | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._work, name="quire-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the job under way and end; what waits behind it is left."""
        self._waiting.put(None)
        self._thread.join(FETCH_TIMEOUT_S + 2)

    def index(self, file_id: str, name: str, asker: str) -> None:
        """Make a file findable. asker: the id of whoever asked for it."""
        self._put("index_file", ("file", file_id, name), asker, lambda: self._index(file_id))

    def sync(self, source_id: str, name: str, url: str, asker: str) -> None:
        """Fetch a source's document and index it."""
        self._put(
            "sync_source", ("source", source_id, name), asker, lambda: self._fetch(source_id, name, url)
        )

    def _put(
        self, name: str, target: tuple[str, str, str], asker: str, run: Callable[[], dict[str, int]]
    ) -> None:
        # With the request's context, so that the job's events carry its request id and tenant.
        job = _Job(name, target, asker, run, contextvars.copy_context())
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            self._record(job, "task_failed", {"error": "too many jobs wait"})

    def _work(self) -> None:
        sweep_at = time.monotonic()
        while True:
            try:
                job = self._waiting.get(timeout=max(0.0, sweep_at - time.monotonic()))
            except queue.Empty:
                self._sweep()
                sweep_at = time.monotonic() + SWEEP_EVERY_S
                continue
            if job is None:
                return
            job.asked_in.run(self._run, job)

    def _run(self, job: _Job) -> None:
        started = time.perf_counter()
        with audit.context(
            user_id=_SERVICE, user_name="Quire worker", user_type="service", on_behalf_of=job.asker
        ):
            try:
                done: dict[str, int | float | str] = dict(job.run())
            except JobFailed as error:
                self._record(job, "task_failed", {"error": str(error)})
                return
            done["duration_ms"] = round((time.perf_counter() - started) * 1000, 1)
            self._record(job, "task_completed", done)

    @staticmethod
    def _record(job: _Job, action: str, details: dict[str, int | float | str]) -> None:
        audit.record("system", action, target=job.target, attributes={"task.name": job.name, **details})

    def _index(self, file_id: str) -> dict[str, int]:
        row = self._database.one("SELECT text FROM files WHERE id = ?", [file_id])
        if row is None:
            raise JobFailed("the file was deleted before it was indexed")
        passages = split(row["text"])
        self._database.run("UPDATE files SET indexed = 1 WHERE id = ?", [file_id])
        return {"task.passages": len(passages), "task.words": sum(len(words(text)) for text in passages)}

    def _fetch(self, source_id: str, name: str, url: str) -> dict[str, int]:
        try:
            # Never by a proxy of the environment: sources of the demonstration are on this machine.
            answer = httpx.get(url, timeout=FETCH_TIMEOUT_S, trust_env=False)
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._database.run("UPDATE sources SET status = 'failed' WHERE id = ?", [source_id])
            raise JobFailed(f"{url} could not be fetched: {type(error).__name__}") from error
        text = answer.text[:FETCH_BYTES_MAX]
        file_id = new_id("f")
        with self._database.change():
            updated = self._database.run("UPDATE sources SET status = 'synced' WHERE id = ?", [source_id])
            if not updated:
                raise JobFailed("the source was deleted before it was fetched")
            self._database.run("DELETE FROM files WHERE source = ?", [source_id])
            self._database.run(
                "INSERT INTO files (id, organization, name, text, source, owner, indexed)"
                " SELECT ?, organization, ?, ?, id, ?, 1 FROM sources WHERE id = ?",
                [file_id, f"{name}.txt", text, _SERVICE, source_id],
            )
        return {"task.bytes": len(text), "task.passages": len(split(text))}
