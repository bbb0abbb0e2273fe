"""What an audit event tells of the HTTP request behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """Of one HTTP request. route: the template, never the path as typed, so that its values are few."""

    request_id: str | None
    client_address: str | None
    user_agent: str | None
    method: str | None
    route: str | None
