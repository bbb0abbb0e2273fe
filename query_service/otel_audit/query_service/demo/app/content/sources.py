"""Sources: addresses that documents are fetched from, in the background."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import ADMIN, EDITORS, EVERYONE, Call, Refused, new_id, route
from ..database import Database
from ..workspace.jobs import Jobs
from .samples import HANDBOOK


class Sources:
    """The routes `/sources…`, and `/samples/handbook.txt` to fetch from."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("GET", "/sources", self.list, allowed=EVERYONE),
            route("POST", "/sources", self.add, allowed=EDITORS),
            route("POST", "/sources/{id}/sync", self.sync, allowed=EDITORS),
            route("DELETE", "/sources/{id}", self.delete, allowed=ADMIN),
            route("GET", "/samples/handbook.txt", self.sample, allowed=None),
        ]

    def list(self, call: Call) -> Response:
        """Every source and how its last synchronization ended."""
        rows = self._database.all(
            "SELECT id, name, status FROM sources WHERE organization = ? LIMIT 1000", [call.organization]
        )
        return JSONResponse({"sources": rows})

    def add(self, call: Call) -> Response:
        """Add a source and fetch it."""
        source_id, name, url = new_id("s"), call.text("name"), call.text("url")
        self._database.run(
            "INSERT INTO sources (id, organization, name, url) VALUES (?, ?, ?, ?)",
            [source_id, call.organization, name, url],
        )
        audit.record(
            "data_access", "create", target=("source", source_id, name), changes={"url": (None, url)}
        )
        self._jobs.sync(source_id, name, url, call.actor.id)
        return JSONResponse({"id": source_id}, 201)

    def sync(self, call: Call) -> Response:
        """Fetch a source again."""
        source_id, name, url = self._find(call)
        audit.record("data_access", "read", target=("source", source_id, name), attributes={"reason": "sync"})
        self._jobs.sync(source_id, name, url, call.actor.id)
        return JSONResponse({"status": "queued"}, 202)

    def delete(self, call: Call) -> Response:
        """Remove a source and the files it brought."""
        source_id, name, url = self._find(call)
        with self._database.change():
            self._database.run("DELETE FROM sources WHERE id = ?", [source_id])
            files = self._database.run("DELETE FROM files WHERE source = ?", [source_id])
        audit.record(
            "data_access",
            "delete",
            target=("source", source_id, name),
            changes={"url": (url, None)},
            attributes={"files.deleted": files},
        )
        return Response(status_code=204)

    def sample(self, call: Call) -> Response:
        """A text that a source can bring."""
        return PlainTextResponse(HANDBOOK)

    def _find(self, call: Call) -> tuple[str, str, str]:
        row = self._database.one(
            "SELECT * FROM sources WHERE id = ? AND organization = ?", [call.path("id"), call.organization]
        )
        if row is None:
            raise Refused(404, "there is no such source")
        return row["id"], row["name"], row["url"]
