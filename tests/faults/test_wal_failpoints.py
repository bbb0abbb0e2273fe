from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from otel_audit.exporter.wal import read_durable
from tests.faults.conftest import Count
from tests.support.wal_failpoints import FAILPOINTS, FRAMES, life_frame, live
from tests.support.wal_frames import TIMEOUT_S, damaged_log, filled, frame, recovered
from tests.support.wal_nursery import Nursery

pytestmark = pytest.mark.timeout(TIMEOUT_S)

STATES = ("new", "clean", "to_recover")
FORMAT = Path(__file__).parents[2] / "docs" / "wal-format.md"


def template(directory: Path, state: str) -> list[bytes]:
    """The log before the life that is cut short; returns the frames in it."""
    directory.mkdir()
    if state == "new":
        return []
    if state == "clean":
        filled(directory / "wal", [frame(100)])
        return [frame(100)]
    before = damaged_log(directory / "wal")
    # As after a crash while the next segment was made.
    (directory / "wal" / "000000000003.wal.new").write_bytes(b"half of a header")
    return before


def steps_of(directory: Path, at: Path) -> list[tuple[str, str]]:
    """Name and moment of everything one whole life does to the disk, in order."""
    shutil.copytree(directory, at)
    steps: list[tuple[str, str]] = []
    live(at / "wal", lambda name, moment: steps.append((name, moment)), lambda _: None)
    return steps


@pytest.mark.parametrize("state", STATES)
def test_a_kill_at_any_step_keeps_every_acknowledged_frame_exactly_once(
    ram_path: Path, count: Count, state: str
) -> None:
    before = template(ram_path / "template", state)
    numbers = range(FRAMES + 4)
    frames = [life_frame(number) for number in numbers]
    step = -1
    with Nursery() as nursery:
        for name, moment in steps_of(ram_path / "template", ram_path / "dry"):
            step += moment == "before"
            life, notes = ram_path / "life", ram_path / "notes"
            shutil.rmtree(life, ignore_errors=True)
            notes.unlink(missing_ok=True)
            shutil.copytree(ram_path / "template", life)
            nursery.start(directory=str(life / "wal"), notes=str(notes), step=step, moment=moment)
            assert nursery.ended() == signal.SIGKILL, (name, moment)
            count("kills at named steps of the log", 1)
            history = [line.split() for line in notes.read_text().splitlines()]
            removing = {int(number) for what, number in history if what == "removing"}
            kept = [int(number) for what, number in history if what == "acknowledged"]
            kept = [number for number in kept if number not in removing]
            # Half of `durable` is for the next start to mend: a kill leaves it whole, this test does not.
            if kept and not (moment == "halfway" and name.endswith("write durable")):
                visible = [item for _, item in read_durable(life / "wal")]
                assert [n for n in kept if frames[n] not in visible] == [], (name, moment)
            found = recovered(life / "wal")
            assert found[: len(before)] == before, (name, moment)
            added = [n for item in found[len(before) :] for n in numbers if frames[n] == item]
            assert len(added) == len(found) - len(before), (name, moment)
            assert added == sorted(set(added)), (name, moment)
            assert set(kept) <= set(added), (name, moment)
            # The next start finds the same, and the log takes frames.
            filled(life / "wal", [frame(99)])
            assert recovered(life / "wal") == [*found, frame(99)], (name, moment)


def test_every_step_that_changes_the_disk_has_a_name_and_every_name_is_a_step(tmp_path: Path) -> None:
    taken: set[str] = set()
    for state in STATES:
        template(tmp_path / state, state)
        taken |= {name for name, _ in steps_of(tmp_path / state, tmp_path / f"{state}-dry")}
    assert taken == FAILPOINTS


def test_the_documentation_lists_every_step() -> None:
    text = FORMAT.read_text()
    assert [name for name in sorted(FAILPOINTS) if f"`{name}`" not in text] == []
