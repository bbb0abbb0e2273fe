"""Where a state-changing request came from: only the console's own pages may send one."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from otel_audit.query_service.api.problems import Problem
from otel_audit.query_service.settings import Settings


def require_own_page(request: Request, settings: Settings) -> None:
    """Raise Problem 403 for a request that another site made a browser send.

    `Sec-Fetch-Site` decides where the browser sends it: always over https and on loopback. Over plain http
    elsewhere only `Origin` is left, and that is `null` from our own pages, because they send no referrer; the
    session cookie is SameSite=Lax, so such a request acts for nobody who did not sign in here. Without either
    header no browser sent it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site in ("same-origin", "none"):
            return
        raise _another_site()
    origin = request.headers.get("origin")
    if origin is None or (origin == "null" and request.url.scheme == "http"):
        return
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        raise _another_site() from None
    own = {request.headers.get("host", "").lower()}
    if settings.public_url:
        own.add(urlsplit(settings.public_url).netloc.lower())
    if not host or host not in own:
        raise _another_site()


def is_encrypted(request: Request, settings: Settings) -> bool:
    """Whether people reach the console by https, directly or through a proxy."""
    return request.url.scheme == "https" or (settings.public_url or "").startswith("https://")


def _another_site() -> Problem:
    return Problem(
        403, "This request came from another site.", hint="Open the console's own page and try again."
    )
