"""Quire wired in one place: database, people, jobs, routes and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import AuditMiddleware, audit

from .call import Call, new_id, route
from .content.files import Files
from .content.qa_pairs import QaPairs
from .content.questions import Questions
from .content.samples import FILES, QA_PAIRS
from .content.sources import Sources
from .database import Database
from .failures import FailureMiddleware
from .identity.attempts import Attempts
from .identity.credentials import Credentials
from .identity.people import People
from .identity.provider import IdentityProvider
from .identity.sessions import COOKIE, SessionMiddleware, Sessions, who
from .identity.signin import SignIn
from .identity.sso import SingleSignOn
from .workspace.integrations import Integrations
from .workspace.jobs import Jobs
from .workspace.roles import Roles

_FLUSH_S = 5.0


def build_app(folder: Path, accounts: Iterable[Mapping[str, Any]]) -> Starlette:
    """The app with its database in `folder`.

    accounts: id, organization, email, name, role, password, sso; the password of an SSO account is the one
    at the identity provider. The audit trail is configured by the caller or by the environment.
    """
    database = Database(folder / "quire.sqlite")
    people, provider = People(database), IdentityProvider()
    for account in accounts:
        people.add(account)
        if account["sso"]:
            provider.add(account["email"], account["password"])
    _fill(database, {account["organization"] for account in accounts})
    sessions = Sessions(database)
    jobs = Jobs(database, sessions.expire)
    routes: list[BaseRoute] = [
        *SignIn(people, sessions, Attempts()).routes(),
        *SingleSignOn(people, sessions, provider).routes(),
        *provider.routes(),
        *Credentials(database, people).routes(),
        *Files(database, jobs).routes(),
        *Sources(database, jobs).routes(),
        *QaPairs(database).routes(),
        *Questions(database).routes(),
        *Roles(people).routes(),
        *Integrations(database).routes(),
        route("GET", "/", _about, allowed=None),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        jobs.start()
        yield
        await run_in_threadpool(jobs.stop)
        await run_in_threadpool(audit.flush, _FLUSH_S)
        database.close()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(
                AuditMiddleware,
                resolver=who,
                trusted_proxies=["127.0.0.0/8", "::1"],
                session_cookie=COOKIE,
            ),
            Middleware(FailureMiddleware),
            Middleware(SessionMiddleware, sessions=sessions),
        ],
    )


def _about(call: Call) -> Response:
    return JSONResponse({"product": "Quire", "organization": call.organization})


def _fill(database: Database, organizations: set[str]) -> None:
    for organization in sorted(organizations):
        for name, text in FILES.items():
            database.run(
                "INSERT INTO files (id, organization, name, text, owner, indexed) VALUES (?, ?, ?, ?, ?, 1)",
                [new_id("f"), organization, name, text, "svc-quire-setup"],
            )
        for question, answer in QA_PAIRS.items():
            database.run(
                "INSERT INTO qa_pairs VALUES (?, ?, ?, ?)", [new_id("qa"), organization, question, answer]
            )
