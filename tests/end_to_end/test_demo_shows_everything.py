"""`otel-audit demo`: one link into a console that shows all there is to show."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import httpx

from tests.support.process import OTEL_AUDIT, environment, run

CATEGORIES = {"authentication", "data_access", "security", "system"}
JWT = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")


def test_the_demo_stops_by_itself_and_its_console_shows_all_four_categories(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    command = [OTEL_AUDIT, "demo", "--for", "25", "--data-dir", str(data_dir)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as demo:
        assert demo.stdout is not None
        url = demo.stdout.readline().strip()
        base, _, ticket = url.partition("/login?ticket=")
        with httpx.Client(base_url=base, follow_redirects=True, timeout=30) as browser:
            headers = {"origin": base, "sec-fetch-site": "same-origin"}
            page = browser.post("/login", data={"ticket": ticket}, headers=headers)
            assert page.status_code == 200
            assert re.search(r"/o/[a-z]+/events$", str(page.url))
            org = str(page.url).split("/")[4]
            again = browser.post("/login", data={"ticket": ticket}, headers=headers)
            assert again.status_code != 200 or "ticket" in again.text
        assert demo.wait(60) == 0
    output = run(data_dir, "search", "--tenant", org, "--limit", "10000", "--format", "ndjson").stdout
    events = [json.loads(line) for line in output.splitlines()]
    assert {event["category"] for event in events} == CATEGORIES
    assert len({event["action"] for event in events}) >= 20
    assert any(event["redactions"] for event in events)
    assert not JWT.search(output)
