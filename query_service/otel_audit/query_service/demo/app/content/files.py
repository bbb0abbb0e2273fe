"""Files: upload, read, preview, download, rename, delete."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import EDITORS, EVERYONE, STAFF, Call, Refused, new_id, route
from ..database import Database
from ..workspace.jobs import Jobs


class Files:
    """The routes `/files…`."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("GET", "/files", self.list, allowed=EVERYONE),
            route("POST", "/files", self.upload, allowed=STAFF),
            route("GET", "/files/{id}", self.read, allowed=EVERYONE),
            route("GET", "/files/{id}/preview", self.preview, allowed=EVERYONE),
            route("GET", "/files/{id}/content", self.download, allowed=STAFF),
            route("PATCH", "/files/{id}", self.rename, allowed=EDITORS),
            route("DELETE", "/files/{id}", self.delete, allowed=EDITORS),
        ]

    def list(self, call: Call) -> Response:
        """Ids and names; a list of names is no access to what they name."""
        rows = self._database.all(
            "SELECT id, name, indexed FROM files WHERE organization = ? ORDER BY name LIMIT 1000",
            [call.organization],
        )
        return JSONResponse({"files": rows})

    def upload(self, call: Call) -> Response:
        """Store a text file and have it indexed."""
        if call.upload is None:
            raise Refused(400, "send a file")
        name, content = call.upload
        file_id = new_id("f")
        self._database.run(
            "INSERT INTO files (id, organization, name, text, owner) VALUES (?, ?, ?, ?, ?)",
            [file_id, call.organization, name, content.decode("utf-8", "replace"), call.actor.id],
        )
        audit.record(
            "data_access",
            "upload",
            target=("file", file_id, name),
            attributes={"file.size": len(content)},
        )
        self._jobs.index(file_id, name, call.actor.id)
        return JSONResponse({"id": file_id}, 201)

    def read(self, call: Call) -> Response:
        """What is known of a file, without its content."""
        file = self._find(call)
        audit.record("data_access", "read", target=_target(file))
        return JSONResponse({name: file[name] for name in ("id", "name", "owner", "source", "indexed")})

    def preview(self, call: Call) -> Response:
        """The longest line of a file, which says most about it."""
        file = self._find(call)
        # Fails on an empty file, which nobody has noticed yet.
        line = max(file["text"].splitlines(), key=len)
        audit.record("data_access", "read", target=_target(file), attributes={"part": "preview"})
        return JSONResponse({"preview": line[:200]})

    def download(self, call: Call) -> Response:
        """The whole content."""
        file = self._find(call)
        content = file["text"].encode()
        audit.record("data_access", "download", target=_target(file), attributes={"file.size": len(content)})
        named = f"attachment; filename*=UTF-8''{quote(file['name'])}"
        return Response(content, media_type="text/plain", headers={"content-disposition": named})

    def rename(self, call: Call) -> Response:
        """Give a file another name."""
        file, name = self._find(call), call.text("name")
        self._database.run("UPDATE files SET name = ? WHERE id = ?", [name, file["id"]])
        audit.record(
            "data_access",
            "update",
            target=("file", file["id"], name),
            changes={"name": (file["name"], name)},
        )
        return Response(status_code=204)

    def delete(self, call: Call) -> Response:
        """Remove a file."""
        file = self._find(call)
        self._database.run("DELETE FROM files WHERE id = ?", [file["id"]])
        audit.record("data_access", "delete", target=_target(file), changes={"name": (file["name"], None)})
        return Response(status_code=204)

    def _find(self, call: Call) -> dict[str, Any]:
        row = self._database.one(
            "SELECT * FROM files WHERE id = ? AND organization = ?", [call.path("id"), call.organization]
        )
        if row is None:
            raise Refused(404, "there is no such file")
        return row


def _target(file: dict[str, Any]) -> tuple[str, str, str]:
    return ("file", file["id"], file["name"])
