"""The process is killed before the N-th system call of every operation of the store, and starts again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_audit.exporter.store.partition import RegionRoot
from tests.support.store_operations import (
    OPERATIONS,
    append,
    check_folder,
    check_readers,
    fresh,
    open_store,
)
from tests.support.wal_frames import LONG, TIMEOUT_S

pytestmark = pytest.mark.timeout(TIMEOUT_S)

ROOT = Path(__file__).resolve().parents[2]
# The short run kills before every third call, of the slow `pack` before every fifth.
STEP = 1 if LONG else 3
STEP_PACK = 1 if LONG else 5
# A pack deletes a thousand files one by one: past this call only some of those like it are tried.
ALIKE_FROM = 120 if LONG else 50
STRIDE = 29 if LONG else 997
AFTER = 102


class Victim:
    """The process of tests/support/store_victim.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.store_victim"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def is_killed(self, name: str, root: Path, nth: int) -> bool:
        """Work until the N-th call; whether there was one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {root} {nth}\n")
        self._process.stdin.flush()
        ended = int(self._line())
        assert ended in (0, signal.SIGKILL), (name, nth, ended)
        return ended == signal.SIGKILL

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    started = Victim()
    yield started
    started.end()


@pytest.mark.parametrize("name", OPERATIONS)
def test_whenever_the_process_is_killed_the_next_start_finds_each_event_once(
    tmp_path: Path, victim: Victim, name: str
) -> None:
    operation = OPERATIONS[name]
    operation.fill(RegionRoot(tmp_path / "template"))
    root = RegionRoot(tmp_path / "root")
    kills, nth, killed = 0, 0, True
    while killed:
        if name != "pack":
            nth += STEP
        else:
            nth += STEP_PACK if nth < ALIKE_FROM else STRIDE
        fresh(tmp_path / "template", root.path)
        killed = victim.is_killed(name, root.path, nth)
        kills += killed
        where = (name, nth)
        store = open_store(root)
        check_readers(store, operation.before(), where)
        check_folder(store, where, tidied=True)
        operation.act(store)
        assert operation.done(store), where
        append(store, AFTER)
        after = operation.after().with_there(AFTER)
        check_readers(store, after, where)
        check_folder(store, where, tidied=True)
        store.close()
    print(f"{name}: killed at {kills} of its steps")
    assert kills >= 8 / STEP
