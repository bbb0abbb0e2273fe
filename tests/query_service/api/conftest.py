"""One query service for the tests of the API, with two organizations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import QueryServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    data_dir = tmp_path_factory.mktemp("api") / "data"
    running = QueryServer(data_dir, allowed_origins=("https://console.example.com",)).start()
    for org in ("acme", "globex"):
        running.core.tenants.add(org)
    yield running
    running.stop()


@pytest.fixture
def org(server: QueryServer, request: pytest.FixtureRequest) -> str:
    """An organization of this test's own."""
    name = f"org-{abs(hash(request.node.nodeid)) % 10**12}"
    server.core.tenants.add(name)
    return name
