"""What fault tests share: a folder in memory, and counts of what was injected, printed at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHARED_MEMORY = Path("/dev/shm")
COUNTS = pytest.StashKey[dict[str, int]]()

Count = Callable[[str, int], None]


@pytest.fixture
def ram_path(tmp_path: Path) -> Iterator[Path]:
    """A folder on tmpfs where there is one: a hundred thousand restarts would wait for a disk for hours."""
    if not SHARED_MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="otel-audit-faults-", dir=SHARED_MEMORY))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Add to a number printed at the end of the run: how often a fault was injected, not only that it was."""
    counts = request.config.stash.setdefault(COUNTS, {})

    def add(what: str, number: int) -> None:
        counts[what] = counts.get(what, 0) + number

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash.get(COUNTS, {})
    if counts:
        terminalreporter.section("faults injected")
        for what, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:>10,}  {what}")
