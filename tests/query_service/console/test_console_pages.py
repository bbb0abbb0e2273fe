"""The pages as a browser without JavaScript gets them, from the real service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest

from otel_audit.exporter.redaction.tenant_policy import parse_policy
from tests.support.server import QueryServer

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
OWN_PAGE = {"sec-fetch-site": "same-origin"}


def ticket_of(server: QueryServer, org: str, role: str = "admin", user: str = "ada@example.com") -> str:
    return server.services.tickets.create(org, user, role)


@pytest.fixture
def client(server: QueryServer) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made


@pytest.fixture
def signed_in(server: QueryServer, client: httpx.Client, org: str) -> httpx.Client:
    answer = client.post("/login", data={"ticket": ticket_of(server, org)}, headers=OWN_PAGE)
    assert answer.status_code == 303
    return client


def links(page: httpx.Response, text: str) -> list[str]:
    """Addresses of links whose markup contains `text`."""
    found = re.findall(r'<a\b[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', page.text, re.S)
    return [unescape(href) for href, inner in found if text in inner]


def test_a_link_preview_does_not_spend_the_ticket_and_a_person_does_once(
    server: QueryServer, client: httpx.Client, org: str
) -> None:
    ticket = ticket_of(server, org)
    for _ in range(3):
        page = client.get("/login", params={"ticket": ticket})
        assert page.status_code == 200
        assert "set-cookie" not in page.headers
        assert f'value="{ticket}"' in page.text
    entered = client.post("/login", data={"ticket": ticket}, headers=OWN_PAGE)
    assert (entered.status_code, entered.headers["location"]) == (303, f"/o/{org}/events")
    cookie = entered.headers.get_list("set-cookie")[0].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    assert client.get(f"/o/{org}/events").status_code == 200
    again = client.post("/login", data={"ticket": ticket}, headers=OWN_PAGE)
    assert again.status_code == 401
    assert "cannot be used" in again.text
    [login] = server.trail(org, ("action", "login"))
    assert (login["user_email"], login["http_route"]) == ("ada@example.com", "/login")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1.evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_another_site_can_neither_sign_a_person_in_nor_out(
    server: QueryServer, signed_in: httpx.Client, org: str, path: str, headers: dict[str, str]
) -> None:
    ticket = ticket_of(server, org)
    refused = signed_in.post(path, data={"ticket": ticket}, headers=headers)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    assert signed_in.get(f"/o/{org}/events").status_code == 200
    assert server.services.tickets.redeem(ticket).org == org


def test_signing_out_ends_the_session_everywhere(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    cookie = signed_in.cookies["otel_audit_session"]
    left = signed_in.post("/logout", headers={"origin": server.url()})
    assert (left.status_code, left.headers["location"]) == (303, "/login")
    with server.client(cookie=f"otel_audit_session={cookie}") as kept:
        assert kept.get(f"/o/{org}/events").status_code == 401
    assert len(server.trail(org, ("action", "logout"))) == 1


def test_the_start_page_leads_to_the_callers_events_or_to_the_sign_in(
    signed_in: httpx.Client, server: QueryServer, org: str
) -> None:
    assert signed_in.get("/").headers["location"] == f"/o/{org}/events"
    assert signed_in.get(f"/o/{org}").headers["location"] == f"/o/{org}/events"
    with server.client() as stranger:
        assert stranger.get("/").headers["location"] == "/login"


def test_whoever_has_to_sign_in_comes_back_to_the_page_they_asked_for(
    server: QueryServer, client: httpx.Client, org: str
) -> None:
    address = f"/o/{org}/events?category=security&q=a%20b"
    asked = client.get(address)
    assert asked.status_code == 401
    assert "Sign in" in asked.text
    entered = client.post("/login", data={"ticket": ticket_of(server, org)}, headers=OWN_PAGE)
    assert entered.headers["location"] == address


@pytest.mark.parametrize(
    "kept", ["//evil.example/", "https://evil.example", "/o/globex/events", "/o/\\evil", "/login"]
)
def test_a_kept_address_never_leads_out_of_the_callers_organization(
    server: QueryServer, client: httpx.Client, org: str, kept: str
) -> None:
    client.cookies.set("otel_audit_return", kept)
    entered = client.post("/login", data={"ticket": ticket_of(server, org)}, headers=OWN_PAGE)
    assert entered.headers["location"] == f"/o/{org}/events"


@pytest.mark.parametrize("page", ["events", "events/{id}", "requests/{id}", "traces/{hex}"])
def test_a_page_refuses_the_same_callers_as_the_api_and_records_it(
    server: QueryServer, client: httpx.Client, org: str, page: str
) -> None:
    path = f"/o/{org}/" + page.format(id="01a20ae7-d443-7a4d-ad89-ed0a7a28a98e", hex="0" * 32)
    assert client.get(path).status_code == 401
    for role, other, status in (("member", org, 403), ("admin", "globex", 404)):
        with server.client(server.token(other, role)) as caller:
            refused = caller.get(path)
        assert refused.status_code == status
        assert refused.headers["content-type"].startswith("text/html")
    with server.client(server.token("globex")) as caller:
        absent = caller.get(path.replace(org, "no-such-org"))
    assert absent.status_code == 404
    refusals = server.trail(org, ("action", "access_denied"))
    assert sorted(event["http_status"] for event in refusals) == [401, 403, 404]
    assert {event["http_route"] for event in refusals} == {
        "/o/{org}/"
        + page.replace("/{id}", "/{" + page.split("/")[0].rstrip("s") + "_id}").replace("{hex}", "{trace_id}")
    }


def test_every_answer_carries_the_policy(server: QueryServer, signed_in: httpx.Client, org: str) -> None:
    [event_id] = server.ingest(org)
    paths = ["/", "/login", f"/o/{org}/events", f"/o/{org}/events?ip=x", f"/o/{org}/events/{event_id}"]
    style = re.findall(r'href="(/static/[^"]+\.css)"', signed_in.get("/login").text)
    for path in [*paths, "/o/other/events", f"/o/{org}/requests/none", "/static/x/none.js", *style]:
        answer = signed_in.get(path)
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        kept = "immutable" in answer.headers["cache-control"]
        assert kept == (path in style)
        assert kept or answer.headers["cache-control"] == "no-store"


def test_the_page_finds_the_event_that_was_just_acknowledged_and_tells_that_it_was_searched(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    [event_id] = server.ingest(org, user_email="zoë@example.com", target_type="file", target_name="Q3.xlsx")
    page = signed_in.get(f"/o/{org}/events", params={"category": "data_access"})
    assert page.status_code == 200
    assert f'id="e-{event_id}"' in page.text
    assert "zoë@example.com" in page.text
    assert "Q3.xlsx" in page.text
    [searched] = server.trail(org, ("action", "search"))
    assert searched["attributes"]["otel_audit.filters"] == {"category": ["data_access"]}
    assert searched["http_route"] == "/o/{org}/events"


def test_the_page_finds_tokenised_people_and_says_which_filters_cannot(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    server.core.tenants.set(org, redaction=parse_policy('[fields]\nuser_id = "tokenise"'))
    server.ingest(org, user_id="u-ada", message="tokenised")
    found = signed_in.get(f"/o/{org}/events?user=U-Ada")
    assert "tokenised" in found.text
    assert "does not match tokenised" not in found.text
    missed = signed_in.get(f"/o/{org}/events?q=u-ada")
    assert "q does not match tokenised values; user, ip and resource_id do." in missed.text


def test_pages_of_one_search_are_one_event_and_hold_every_row_once(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    ids = server.ingest(org, 230)
    path, seen = f"/o/{org}/events?action=read", []
    for _ in range(3):
        page = signed_in.get(path)
        seen += re.findall(r'data-id="([^"]+)"', page.text)
        server.ingest(org, 5)
        older = links(page, "Older")
        path = older[0] if older else ""
    assert path == ""
    assert seen == ids[::-1]
    assert "201–230" in page.text
    assert len(server.trail(org, ("action", "search"))) == 1


def test_a_row_opens_without_javascript_and_its_reading_is_recorded(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    [event_id] = server.ingest(
        org, changes={"name": ("Q3.xlsx", "Q4.xlsx")}, target_type="file", target_id="f-81"
    )
    page = signed_in.get(f"/o/{org}/events", params={"open": event_id})
    assert 'aria-expanded="true"' in page.text
    assert page.text.index("What changed") < page.text.index("Who</h3>")
    assert "<del><bdi>Q3.xlsx</bdi></del>" in page.text
    assert "<ins><bdi>Q4.xlsx</bdi></ins>" in page.text
    permalink = signed_in.get(links(page, "Permalink")[0])
    assert permalink.status_code == 200
    assert "Full JSON" in permalink.text
    reads = server.trail(org, ("resource_type", "audit_event"))
    assert [event["resource_id"] for event in reads] == [event_id] * 2


def test_hostile_values_are_text_on_every_page(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\"'"
    request_id = "0192f0c1-2d3e-7f4a-8b5c-6d7e8f901234"
    [event_id] = server.ingest(
        org,
        message=attack,
        user_name=attack,
        target_type="file",
        target_name=attack,
        user_agent=attack,
        request_id=request_id,
        changes={attack: (attack, attack)},
        attributes={attack: attack},
    )
    for path in (
        f"events?open={event_id}",
        f"events/{event_id}",
        f"requests/{request_id}",
        "events?q=%3Cimg",
    ):
        page = signed_in.get(f"/o/{org}/{path}")
        assert page.status_code == 200
        assert "<img" not in page.text
        assert "alert(1)</script>" not in page.text
        assert "U+202E" in page.text or path == "events?q=%3Cimg"
        shown = re.sub(r'data-copy="[^"]*"|href="[^"]*"', "", page.text)
        assert "\u202e" not in shown


def test_typed_filters_become_the_address_of_the_page(signed_in: httpx.Client, org: str) -> None:
    typed = {"range": "7d", "q": "old", "search": "user:ada@example.com -action:read budget"}
    answer = signed_in.get(f"/o/{org}/events", params=typed)
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        f"/o/{org}/events?range=7d&user=ada%40example.com&not.action=read&q=budget"
    )


def test_a_search_that_cannot_be_read_stays_in_its_box_with_the_reason(
    signed_in: httpx.Client, org: str
) -> None:
    page = signed_in.get(f"/o/{org}/events", params={"search": "colour:red", "category": "security"})
    assert page.status_code == 200
    assert "There is no filter “colour”" in page.text
    assert 'value="colour:red"' in page.text
    assert 'aria-label="Remove filter category security"' in page.text


@pytest.mark.parametrize(
    "query", ["ip=nonsense", "colour=red", "range=1y", "user=a&user=b", "from=x", "trace=1"]
)
def test_a_filter_that_cannot_be_used_is_named_and_the_others_stay(
    signed_in: httpx.Client, org: str, query: str
) -> None:
    page = signed_in.get(f"/o/{org}/events?category=security&{query}")
    assert page.status_code == 400
    assert "This filter cannot be used" in page.text
    assert links(page, "Drop it")[0].startswith(f"/o/{org}/events?category=security")


@pytest.mark.parametrize("query", ["as_of=x", "cursor=x", "as_of=W10", "cursor=%FF"])
def test_a_broken_link_is_a_400_and_no_failure(signed_in: httpx.Client, org: str, query: str) -> None:
    assert signed_in.get(f"/o/{org}/events?{query}").status_code == 400


def test_an_empty_page_names_the_filter_to_drop_with_its_count(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    server.ingest(org, 3, action="download")
    page = signed_in.get(f"/o/{org}/events", params={"action": "download", "user": "nobody@example.com"})
    assert "No events match" in page.text
    assert links(page, "Drop user nobody@example.com") == [f"/o/{org}/events?action=download"]
    assert re.search(r"Drop user.*?</a> <span class=\"aside\">3 events", page.text)


def test_times_are_of_the_zone_in_the_link(server: QueryServer, signed_in: httpx.Client, org: str) -> None:
    [event_id] = server.ingest(org)
    page = signed_in.get(f"/o/{org}/events", params={"tz": "Asia/Kolkata", "open": event_id})
    assert "Asia/Kolkata" in page.text
    assert " IST" in page.text
    assert "is not known here" in signed_in.get(f"/o/{org}/events?tz=Mars/Olympus").text


def test_related_events_are_in_order_across_services(
    server: QueryServer, signed_in: httpx.Client, org: str
) -> None:
    request_id = "0192f0c1-2d3e-7f4a-8b5c-6d7e8f901234"
    ids = server.ingest(org, 4, request_id=request_id)
    page = signed_in.get(f"/o/{org}/requests/{request_id.upper()}")
    assert re.findall(r"/events/([0-9a-f-]{36})", page.text) == ids
    assert signed_in.get(f"/o/{org}/requests/not-an-id").status_code == 404
    assert "No events of this trace" in signed_in.get(f"/o/{org}/traces/{'a' * 32}").text


def test_the_csv_link_keeps_the_filter(server: QueryServer, signed_in: httpx.Client, org: str) -> None:
    server.ingest(org, 2, action="download")
    server.ingest(org, 3)
    page = signed_in.get(f"/o/{org}/events", params={"action": "download", "range": "7d", "tz": "Asia/Tokyo"})
    [address] = links(page, "CSV")
    assert address == f"/api/v1/orgs/{org}/export?format=csv&action=download&range=7d"
    assert len(signed_in.get(address).text.splitlines()) == 3


def test_a_module_gets_the_part_it_asks_for(server: QueryServer, signed_in: httpx.Client, org: str) -> None:
    [event_id] = server.ingest(org)
    main = signed_in.get(f"/o/{org}/events", headers={"x-fragment": "main"})
    assert main.headers["x-fragment"] == "main"
    assert "<html" not in main.text
    detail = signed_in.get(f"/o/{org}/events?open={event_id}", headers={"x-fragment": "detail"})
    assert detail.headers["x-fragment"] == "detail"
    assert detail.text.lstrip().startswith("<article")
    with server.client() as stranger:
        refused = stranger.get(f"/o/{org}/events", headers={"x-fragment": "main"})
    assert (refused.status_code, refused.headers["x-fragment"]) == (401, "problem")
    assert "<html" not in refused.text


def test_a_forbidden_form_is_not_read_whole(client: httpx.Client) -> None:
    assert client.post("/login", data={"ticket": "x" * 5_000}, headers=OWN_PAGE).status_code == 413
