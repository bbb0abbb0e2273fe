"""A real browser for tests: an installed Chromium, else the one that Playwright downloads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Quiet, and able to run as root in a container.
_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_AXE_RULES: Final = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
    # Media and style sheets of other origins, which the console has none of.
    "preload": False,
}


def installed() -> str | None:
    """Path of an installed Chromium; OTEL_AUDIT_TEST_CHROMIUM names another one."""
    named = os.environ.get("OTEL_AUDIT_TEST_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def launch() -> Iterator[Browser]:
    """A headless browser. Without any: a failure when CI is set, else the test is skipped."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=installed(), args=_ARGUMENTS)
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no browser: `playwright install chromium` ({error.message.splitlines()[0]})")
        yield browser
        browser.close()


class Tab:
    """One page and what its console complained about; CSP violations are among the complaints."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        # A refused page is logged by the browser itself and is what the test asked for.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@contextmanager
def tab(browser: Browser, *, cookies: list[dict[str, Any]] | None = None, **options: Any) -> Iterator[Tab]:
    """A tab of a fresh profile. options: of Browser.new_context, such as viewport or color_scheme."""
    context = browser.new_context(**options)
    if cookies:
        context.add_cookies(cookies)  # type: ignore[arg-type]
    context.set_default_timeout(10_000)
    opened = Tab(context)
    yield opened
    context.close()


def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds, one line each: rule, help, first element. rules: only these, else WCAG 2.2 AA."""
    options = _AXE_RULES | ({"runOnly": list(rules)} if rules else {})
    found = Axe().run(page, options=options)
    return [
        f"{violation['id']}: {violation['help']}: {violation['nodes'][0]['html'][:200]}"
        for violation in found.response["violations"]
    ]
