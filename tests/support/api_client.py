"""The query API as a program uses it."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.process import Serve, secret


class Api:
    """Calls of one bearer token on one organization."""

    def __init__(self, server: Serve, token: str, org: str = "acme") -> None:
        self.http = httpx.Client(
            base_url=server.url(), headers={"authorization": f"Bearer {token}"}, timeout=60
        )
        server.clients.append(self.http)
        self.prefix = f"/api/v1/orgs/{org}"

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a 200 answer."""
        response = self.http.get(self.prefix + path, params=query)
        if response.status_code != 200:
            raise AssertionError(f"{path} answered {response.status_code}: {response.text}")
        return response.json()

    def all_events(self, **query: Any) -> list[dict[str, Any]]:
        """Every event of a filter, page by page."""
        events: list[dict[str, Any]] = []
        page = self.get("/events", limit=1000, **query)
        while True:
            events += page["events"]
            if page["next"] is None:
                return events
            page = self.get("/events", limit=1000, cursor=page["next"], as_of=page["as_of"], **query)


def admin(server: Serve, org: str = "acme", user: str = "ada@example.com", role: str = "admin") -> Api:
    token = secret(server.data_dir, "token", "create", "--org", org, "--user", user, "--role", role)
    return Api(server, token, org)


def tenant_with_key(server: Serve, org: str = "acme") -> str:
    """Add an organization; returns an ingest key for it."""
    secret(server.data_dir, "tenant", "add", org)
    return secret(server.data_dir, "key", "create", "--tenant", org)
