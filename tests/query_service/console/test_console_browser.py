"""The console in a real browser: its comforts, its policy, and axe on every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Tab, launch, tab, violations
from tests.support.server import QueryServer

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> in\u202evoice\u200b [REDACTED:jwt] \U000e0041 end"
JOURNEY = "0192f0c1-2d3e-7f4a-8b5c-6d7e8f901234"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch() as launched:
        yield launched


@pytest.fixture(scope="module")
def trail(server: QueryServer) -> dict[str, str]:
    """An organization with a few events of every severity; names of what the tests open."""
    org = "browser-org"
    server.core.tenants.add(org)
    server.ingest(org, 120, user_email="ada@example.com")
    server.ingest(org, 3, action="retrieve", request_id=JOURNEY)
    server.ingest(
        org, 2, category="authentication", action="login_failed", severity="warning", outcome="failure"
    )
    server.ingest(org, 1, category="system", action="task_failed", severity="error", outcome="failure")
    server.ingest(org, 1, category="security", action="suspicious_activity", severity="critical")
    [changed] = server.ingest(
        org,
        category="security",
        action="permission_change",
        severity="warning",
        changes={"roles": (["member"], ["admin"])},
        user_email="ada@example.com",
        request_id=JOURNEY,
    )
    [hostile] = server.ingest(org, action="upload", message=HOSTILE, target_type="file", target_name=HOSTILE)
    return {"org": org, "changed": changed, "hostile": hostile}


def cookies(server: QueryServer, org: str) -> list[dict[str, Any]]:
    ticket = server.services.tickets.create(org, "ada@example.com", "admin")
    value = server.services.sessions.create(server.services.tickets.redeem(ticket))
    return [{"name": "otel_audit_session", "value": value, "url": server.url(), "httpOnly": True}]


@pytest.fixture
def signed_in(browser: Browser, server: QueryServer, trail: dict[str, str]) -> Iterator[Tab]:
    options: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "base_url": server.url()}
    with tab(browser, cookies=cookies(server, trail["org"]), **options) as opened:
        yield opened
        assert opened.complaints == []


def events(page: Page, trail: dict[str, str], query: str = "") -> None:
    page.goto(f"/o/{trail['org']}/events{query}")


def test_one_click_on_the_printed_link_opens_the_console(
    browser: Browser, server: QueryServer, trail: dict[str, str]
) -> None:
    ticket = server.services.tickets.create(trail["org"], "ada@example.com", "admin")
    with tab(browser, base_url=server.url()) as opened:
        opened.page.goto(f"/login?ticket={ticket}")
        opened.page.wait_for_url(f"**/o/{trail['org']}/events")
        expect(opened.page.locator("#events")).to_be_visible()
        opened.page.locator("details.account summary").click()
        opened.page.get_by_role("button", name="Sign out").click()
        opened.page.wait_for_url("**/login")
        assert opened.complaints == []


def test_without_javascript_the_link_has_a_button_and_the_pages_work(
    browser: Browser, server: QueryServer, trail: dict[str, str]
) -> None:
    ticket = server.services.tickets.create(trail["org"], "ada@example.com", "admin")
    with tab(browser, base_url=server.url(), java_script_enabled=False) as opened:
        page = opened.page
        page.goto(f"/login?ticket={ticket}")
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"**/o/{trail['org']}/events")
        expect(page.locator("#live")).to_be_hidden()
        page.locator("#search").fill("action:permission_change")
        page.locator("#search").press("Enter")
        page.wait_for_url("**action=permission_change**")
        page.locator("tr.event .opener").first.click()
        expect(page.locator("article.event-detail")).to_contain_text("What changed")
        page.get_by_role("link", name="Remove filter action permission_change").click()
        expect(page.locator("tr.event")).to_have_count(100)
        page.get_by_role("link", name="Older").click()
        expect(page.locator(".pager p")).to_contain_text("101–")


def test_a_filter_changes_the_page_in_place_and_the_back_button_undoes_it(
    signed_in: Tab, trail: dict[str, str]
) -> None:
    page = signed_in.page
    events(page, trail, "?range=7d")
    page.evaluate("() => { window.same = true; }")
    page.locator('[data-key="severity=critical"]').click()
    expect(page.locator("tr.event")).to_have_count(1)
    assert page.url.endswith("?range=7d&severity=critical")
    expect(page.locator(".chip")).to_have_text(re.compile("severity.*critical"))
    page.locator("#search").fill("-action:suspicious_activity")
    page.locator("#search").press("Enter")
    expect(page.locator("#empty")).to_contain_text("No events match")
    page.go_back()
    expect(page.locator("tr.event")).to_have_count(1)
    assert page.evaluate("() => window.same") is True


def test_a_row_opens_in_place_copies_and_closes(signed_in: Tab, trail: dict[str, str]) -> None:
    page = signed_in.page
    signed_in.context.grant_permissions(["clipboard-read", "clipboard-write"])
    events(page, trail, "?action=permission_change")
    page.locator(f"#e-{trail['changed']} .c-event").click()
    detail = page.locator("tr.detail")
    expect(detail).to_contain_text("What changed")
    expect(detail.locator(".changes td.after")).to_contain_text("admin")
    assert f"open={trail['changed']}" in page.url
    detail.get_by_role("button", name=re.compile("^Copy event_id")).click()
    expect(page.locator("#status")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == trail["changed"]
    page.keyboard.press("Escape")
    expect(detail).to_have_count(0)
    assert "open=" not in page.url


def test_hostile_text_is_inert_and_visible_in_place_and_live(
    signed_in: Tab, server: QueryServer, trail: dict[str, str]
) -> None:
    page = signed_in.page
    events(page, trail, "?action=upload")
    drawn = page.locator(f"#e-{trail['hostile']}")
    page.locator("#live").click()
    expect(page.locator(".live-state")).to_have_text("Live")
    [live_id] = server.ingest(
        trail["org"], action="upload", message=HOSTILE, target_type="file", target_name=HOSTILE
    )
    live = page.locator(f"#e-{live_id}")
    for place in (".c-resource", ".message"):
        assert live.locator(place).inner_text() == drawn.locator(place).inner_text()
    expect(live.locator(".c-resource .cp")).to_have_text(["U+202E", "U+200B", "U+E0041"])
    drawn.locator(".opener").click()
    expect(page.locator("tr.detail")).to_contain_text("U+202E")
    assert page.locator("main img").count() == 0


def test_a_live_event_arrives_on_top_and_the_table_freezes_under_the_hand(
    signed_in: Tab, server: QueryServer, trail: dict[str, str]
) -> None:
    page, org = signed_in.page, trail["org"]
    events(page, trail, "?action=download&range=7d")
    expect(page.locator("#empty")).to_be_visible()
    [missed] = server.ingest(org, action="download", user_email="between@example.com")
    page.locator("#live").click()
    expect(page.locator(f"#e-{missed}")).to_be_visible()
    [arrived] = server.ingest(org, action="download", user_email="second@example.com")
    expect(page.locator("tr.event").first).to_have_attribute("data-id", arrived)
    page.locator(f"#e-{arrived} .opener").click()
    expect(page.locator("tr.detail")).to_contain_text("second@example.com")
    expect(page.locator(".live-reason")).to_contain_text("because")
    [waiting] = server.ingest(org, action="download", user_email="third@example.com")
    expect(page.locator(".live-counts")).to_have_text("1 waiting")
    expect(page.locator("tr.event").first).to_have_attribute("data-id", arrived)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("tr.event").first).to_have_attribute("data-id", waiting)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#live-bar")).to_be_hidden()


def test_live_never_holds_more_than_its_cap(
    signed_in: Tab, server: QueryServer, trail: dict[str, str]
) -> None:
    page = signed_in.page
    events(page, trail)
    page.locator("#live").click()
    expect(page.locator(".live-state")).to_have_text("Live")
    [last] = server.ingest(trail["org"], 300)[-1:]
    expect(page.locator("tr.event").first).to_have_attribute("data-id", last)
    expect(page.locator("tr.event")).to_have_count(200)


def test_the_keyboard_searches_moves_opens_and_helps(signed_in: Tab, trail: dict[str, str]) -> None:
    page = signed_in.page
    events(page, trail)
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Escape")
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr.event .opener").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("tr.detail")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("tr.detail")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    page.locator("#main").focus()
    page.keyboard.press("/")
    expect(page.locator("#search")).not_to_be_focused()


def test_local_time_is_in_the_link(browser: Browser, server: QueryServer, trail: dict[str, str]) -> None:
    options: dict[str, Any] = {"base_url": server.url(), "timezone_id": "Asia/Tokyo"}
    with tab(browser, cookies=cookies(server, trail["org"]), **options) as opened:
        events(opened.page, trail, "?range=7d")
        opened.page.get_by_role("link", name="Local").click()
        opened.page.wait_for_url("**tz=Asia%2FTokyo**")
        expect(opened.page.locator("thead .c-time")).to_contain_text("Asia/Tokyo")
        assert opened.complaints == []


def test_dragging_over_the_chart_narrows_to_those_buckets(signed_in: Tab, trail: dict[str, str]) -> None:
    page = signed_in.page
    events(page, trail)
    box = page.locator(".plot").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 25, steps=4)
    page.mouse.up()
    page.wait_for_url("**from=**to=**")
    expect(page.locator("details.custom summary.on")).to_be_visible()


def test_the_csv_downloads_with_the_session(signed_in: Tab, trail: dict[str, str], tmp_path: Path) -> None:
    page = signed_in.page
    events(page, trail, "?severity=critical")
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    saved = tmp_path / started.value.suggested_filename
    started.value.save_as(saved)
    assert saved.suffix == ".csv"
    lines = saved.read_text().splitlines()
    assert lines[0].startswith("tenant,writer,seq,event_id,")
    assert len(lines) == 2


PAGES = {
    # Every severity, few rows: axe takes a second for each hundred.
    "events": "/o/{org}/events?min_severity=warning",
    "open row": "/o/{org}/events?action=permission_change&open={changed}",
    "hostile": "/o/{org}/events?action=upload&open={hostile}",
    "empty": "/o/{org}/events?q=nothing-like-this",
    "bad filter": "/o/{org}/events?ip=nonsense",
    "event": "/o/{org}/events/{changed}",
    "request": "/o/{org}/requests/" + JOURNEY,
    "no such page": "/o/elsewhere/events",
    "sign in": "/login",
}


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (320, "light")])
def test_every_page_is_accessible_and_fits(
    browser: Browser, server: QueryServer, trail: dict[str, str], width: int, scheme: str
) -> None:
    options: dict[str, Any] = {
        "base_url": server.url(),
        "viewport": {"width": width, "height": 900},
        "color_scheme": scheme,
        "reduced_motion": "reduce",
    }
    # Only colours differ in the dark.
    rules = ("color-contrast", "link-in-text-block") if scheme == "dark" else ()
    found: dict[str, list[str]] = {}
    with tab(browser, cookies=cookies(server, trail["org"]), **options) as opened:
        for name, path in PAGES.items():
            opened.page.goto(path.format(**trail))
            found[name] = violations(opened.page, *rules)
            wide = opened.page.evaluate("() => document.documentElement.scrollWidth")
            if wide > width:
                found[name].append(f"{wide} px wide")
        opened.page.goto(PAGES["events"].format(**trail))
        if width == 320:
            opened.page.locator(".filters-button").click()
            expect(opened.page.locator("#filters")).to_be_visible()
            found["filters"] = violations(opened.page, *rules)
        else:
            opened.page.locator(".chart-table summary").click()
            opened.page.keyboard.press("?")
            found["help"] = violations(opened.page, *rules)
        assert opened.complaints == []
    assert {name: lines for name, lines in found.items() if lines} == {}
