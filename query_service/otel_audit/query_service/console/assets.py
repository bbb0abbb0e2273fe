"""The console's style sheet, modules and icon, read once and served under a name that changes with them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.problems import Problem

_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PACKAGE: Final = "otel_audit.query_service.console"


class Assets:
    """All static files in memory: a handful, together less than one photograph."""

    def __init__(self) -> None:
        found = sorted(files(_PACKAGE).joinpath("static").iterdir(), key=lambda entry: entry.name)
        self._files = {
            entry.name: entry.read_bytes() for entry in found if entry.name.rpartition(".")[2] in _MEDIA_TYPES
        }
        digest = hashlib.sha256()
        for name, data in self._files.items():
            digest.update(name.encode() + b"\0" + data + b"\0")
        self.version: Final = digest.hexdigest()[:16]

    def url(self, name: str) -> str:
        """The address of a file. Raises KeyError for one that is not there."""
        if name not in self._files:
            raise KeyError(name)
        return f"/static/{self.version}/{name}"

    async def serve(self, request: Request) -> Response:
        """One file; only this version's address may be kept for ever, an older one still answers."""
        name = request.path_params["name"]
        data = self._files.get(name)
        if data is None:
            raise Problem(404, "There is no such file.")
        current = request.path_params["version"] == self.version
        kept = "public, max-age=31536000, immutable" if current else "no-cache"
        return Response(
            data, media_type=_MEDIA_TYPES[name.rpartition(".")[2]], headers={"Cache-Control": kept}
        )
