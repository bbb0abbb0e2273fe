"""Integrations: their settings, the API keys they call with, and the webhook they call."""

from __future__ import annotations

import json
import secrets
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import ADMIN, Call, Refused, new_id, route
from ..database import Database
from ..identity.passwords import sha256


class Integrations:
    """The routes `/integrations/…`, `/api-keys…` and `/hooks/…`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("PUT", "/integrations/{name}", self.configure, allowed=ADMIN),
            route("POST", "/api-keys", self.create_key, allowed=ADMIN),
            route("DELETE", "/api-keys/{id}", self.revoke_key, allowed=ADMIN),
            route("POST", "/hooks/{name}", self.hook, allowed=None),
        ]

    def configure(self, call: Call) -> Response:
        """Set an integration up; only what differs is a change."""
        name, after = call.path("name"), dict(call.body)
        row = self._database.one(
            "SELECT settings FROM integrations WHERE organization = ? AND name = ?", [call.organization, name]
        )
        before: dict[str, Any] = json.loads(row["settings"]) if row else {}
        self._database.run(
            "INSERT INTO integrations VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET settings = excluded.settings",
            [call.organization, name, json.dumps(after)],
        )
        fields = sorted(before.keys() | after.keys())
        audit.record(
            "system",
            "config_change",
            target=("integration", name, name),
            changes={f: (before.get(f), after.get(f)) for f in fields if before.get(f) != after.get(f)},
        )
        return Response(status_code=204)

    def create_key(self, call: Call) -> Response:
        """Make an API key; it is shown this once."""
        key_id, name, secret = new_id("k"), call.text("name"), f"qk_live_{secrets.token_urlsafe(24)}"
        self._database.run(
            "INSERT INTO api_keys (id, organization, name, secret_sha256) VALUES (?, ?, ?, ?)",
            [key_id, call.organization, name, sha256(secret)],
        )
        audit.record("security", "key_create", target=("api_key", key_id, name))
        return JSONResponse({"id": key_id, "key": secret}, 201)

    def revoke_key(self, call: Call) -> Response:
        """End an API key."""
        row = self._database.one(
            "SELECT id, name FROM api_keys WHERE id = ? AND organization = ? AND revoked = 0",
            [call.path("id"), call.organization],
        )
        if row is None:
            raise Refused(404, "there is no such key")
        self._database.run("UPDATE api_keys SET revoked = 1 WHERE id = ?", [row["id"]])
        audit.record("security", "key_revoke", target=("api_key", row["id"], row["name"]))
        return Response(status_code=204)

    def hook(self, call: Call) -> Response:
        """Another system reports something, with an API key."""
        scheme, _, secret = call.request.headers.get("authorization", "").partition(" ")
        row = self._database.one(
            "SELECT * FROM api_keys WHERE secret_sha256 = ? AND revoked = 0", [sha256(secret)]
        )
        if scheme.lower() != "bearer" or row is None:
            raise Refused(401, "this key is not known")
        name = call.path("name")
        with audit.context(
            user_id=row["id"], user_name=row["name"], user_type="service", tenant=row["organization"]
        ):
            audit.record(
                "system",
                "integration",
                message=f"{name} reported {call.text('event', default='something')}",
                target=("integration", name, name),
                attributes={"hook.event": call.text("event", default=""), "hook.fields": sorted(call.body)},
            )
        return JSONResponse({"accepted": True}, 202)
