"""One query service for the console's tests, and organizations with a small trail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import QueryServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    running = QueryServer(tmp_path_factory.mktemp("console") / "data").start()
    running.core.tenants.add("globex")
    yield running
    running.stop()


@pytest.fixture
def org(server: QueryServer, request: pytest.FixtureRequest) -> str:
    """An organization of this test's own."""
    name = f"org-{abs(hash(request.node.nodeid)) % 10**12}"
    server.core.tenants.add(name)
    return name
