from __future__ import annotations

import random
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Wal, WalFailed
from tests.support.wal_files import PowerLossFiles
from tests.support.wal_frames import LONG, TIMEOUT_S, frame, recovered

pytestmark = pytest.mark.timeout(TIMEOUT_S)

ROUNDS = 200 if LONG else 4
FRAMES = 14
SEGMENT_BYTES = 8000


def test_losing_power_over_and_over_takes_nothing(tmp_path: Path) -> None:
    for seed in range(ROUNDS * 12):
        rng = random.Random(seed)
        disk = tmp_path / f"{seed}-0"
        disk.mkdir()
        acknowledged: list[int] = []
        for restart in range(6):
            images: list[tuple[Path, int]] = []
            at = rng.randrange(1, 40)

            def lose_power(
                files: PowerLossFiles,
                rng: random.Random = rng,
                acknowledged: list[int] = acknowledged,
                images: list[tuple[Path, int]] = images,
                at: int = at,
                target: Path = tmp_path / f"{seed}-{restart + 1}",
            ) -> None:
                if files.calls == at:
                    files.image(target, rng)
                    images.append((target, len(acknowledged)))

            files = PowerLossFiles(disk, on_call=lose_power)
            with Wal.open(disk / "wal", fs=files, segment_bytes_max=SEGMENT_BYTES) as wal:
                known = [number_of(item) for _, item in wal.replay()]
                assert known == sorted(set(known))
                assert set(acknowledged) <= set(known)
                # From here on repeats of all of these are acknowledged.
                acknowledged[:] = known
                next_number = max(known, default=-1) + 1
                for number in range(next_number, next_number + 6):
                    wal.append(frame(number, size=rng.choice((30, 700, 1500))))
                    acknowledged.append(number)
            if not images:
                break
            disk, count = images[0]
            del acknowledged[count:]


def number_of(item: bytes) -> int:
    return int(item[6 : item.index(b";")])


def exactly_once(found: list[bytes], acknowledged: list[int]) -> bool:
    numbers = [number_of(item) for item in found]
    whole = all(item == frame(number, size=len(item)) for number, item in zip(numbers, found, strict=True))
    return whole and numbers == sorted(set(numbers)) and set(acknowledged) <= set(numbers)


def test_no_loss_of_power_at_any_call_takes_an_acknowledged_frame(tmp_path: Path) -> None:
    images = 0
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        acknowledged: list[int] = []
        (tmp_path / "disk").mkdir(exist_ok=True)
        root = tmp_path / "disk" / str(seed)
        root.mkdir()

        def lose_power(
            files: PowerLossFiles, rng: random.Random = rng, acknowledged: list[int] = acknowledged
        ) -> None:
            nonlocal images
            images += 1
            files.image(tmp_path / "image", rng)
            wal = tmp_path / "image" / "wal"
            assert exactly_once(recovered(wal) if wal.exists() else [], acknowledged)

        files = PowerLossFiles(root, on_call=lose_power)
        with Wal.open(root / "wal", fs=files, segment_bytes_max=SEGMENT_BYTES) as wal:
            for number in range(FRAMES):
                wal.append(frame(number, size=rng.choice((30, 700, 1500))))
                acknowledged.append(number)
    assert images > ROUNDS * FRAMES * 3


def test_losing_power_again_during_recovery_takes_nothing_either(tmp_path: Path) -> None:
    images = 0
    for seed in range(ROUNDS * 3):
        rng = random.Random(seed)
        root = tmp_path / f"disk-{seed}"
        root.mkdir()
        files = PowerLossFiles(root)
        acknowledged = list(range(6))
        wal = Wal.open(root / "wal", fs=files, segment_bytes_max=SEGMENT_BYTES)
        for number in acknowledged:
            wal.append(frame(number, size=rng.choice((30, 700, 1500))))
        first = tmp_path / f"first-{seed}"
        files.image(first, rng)
        wal.close()

        def lose_power(
            files: PowerLossFiles, rng: random.Random = rng, acknowledged: list[int] = acknowledged
        ) -> None:
            nonlocal images
            images += 1
            files.image(tmp_path / "image", rng)
            assert exactly_once(recovered(tmp_path / "image" / "wal"), acknowledged)

        again = PowerLossFiles(first, on_call=lose_power)
        with Wal.open(first / "wal", fs=again, segment_bytes_max=SEGMENT_BYTES) as wal:
            assert exactly_once([item for _, item in wal.replay()], acknowledged)
            wal.append(frame(50))
            acknowledged.append(50)
    assert images > ROUNDS * 3


def test_what_a_restart_replays_after_a_failed_sync_survives_the_next_loss_of_power(tmp_path: Path) -> None:
    replayed_unacknowledged = 0
    for nth in range(4, 18):
        for seed in range(ROUNDS):
            rng = random.Random(seed)
            root = tmp_path / f"disk-{nth}-{seed}"
            root.mkdir()
            files = PowerLossFiles(root, fail_syncs=frozenset({nth}))
            acknowledged: list[int] = []
            wal = Wal.open(root / "wal", fs=files, segment_bytes_max=SEGMENT_BYTES)
            try:
                for number in range(FRAMES):
                    wal.append(frame(number, size=1200))
                    acknowledged.append(number)
            except WalFailed:
                wal.close()
                wal = Wal.open(root / "wal", fs=files, segment_bytes_max=SEGMENT_BYTES)
            replayed = [item for _, item in wal.replay()]
            # The store now answers repeats of all of these with an acknowledgement.
            known = [number_of(item) for item in replayed]
            replayed_unacknowledged += len(set(known) - set(acknowledged))
            files.image(tmp_path / "image", rng)
            wal.close()
            assert exactly_once(recovered(tmp_path / "image" / "wal"), [*acknowledged, *known])
    assert replayed_unacknowledged > 0
