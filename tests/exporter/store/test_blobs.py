"""The contract of a blob medium. A new backend adds itself to `blobs` and must pass all of it."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from otel_audit.exporter.store.files.blobs import Blobs, LocalBlobs
from tests.support.counted_files import CountedFiles
from tests.support.wal_files import FaultyFiles


@pytest.fixture(params=["local"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return {"local": lambda: LocalBlobs(tmp_path)}[request.param]()


def test_what_was_put_is_read_back(blobs: Blobs) -> None:
    for data in (b"", b"x", bytes(range(256)) * 5_000):
        blobs.put_new(f"a/b/{len(data)}", memoryview(data))
        assert blobs.get(f"a/b/{len(data)}") == data


def test_a_key_that_is_taken_is_never_written_again(blobs: Blobs) -> None:
    blobs.put_new("a/one", b"first")
    with pytest.raises(FileExistsError):
        blobs.put_new("a/one", b"second")
    assert blobs.get("a/one") == b"first"


def test_of_many_who_put_one_key_at_once_just_one_succeeds(blobs: Blobs) -> None:
    start = threading.Barrier(8)
    won: list[bytes] = []

    def put(data: bytes) -> None:
        start.wait()
        try:
            blobs.put_new("race/key", data)
        except FileExistsError:
            return
        won.append(data)

    threads = [threading.Thread(target=put, args=(bytes([n]) * 4_096,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [blobs.get("race/key")]


def test_a_range_is_cut_at_the_end_of_the_blob(blobs: Blobs) -> None:
    blobs.put_new("r", b"0123456789")
    assert blobs.get_range("r", 2, 3) == b"234"
    assert blobs.get_range("r", 8, 100) == b"89"
    assert blobs.get_range("r", 10, 1) == b""


def test_a_list_is_sorted_and_only_of_what_lies_below_its_prefix(blobs: Blobs) -> None:
    for key in ("t/2", "t/1", "t/sub/3", "u/4", "tt/5"):
        blobs.put_new(key, b"x")
    assert list(blobs.list("t")) == ["t/1", "t/2", "t/sub/3"]
    assert list(blobs.list("")) == ["t/1", "t/2", "t/sub/3", "tt/5", "u/4"]
    assert list(blobs.list("nothing/here")) == []


def test_a_moved_blob_has_its_new_key_only_and_replaces_nothing(blobs: Blobs) -> None:
    blobs.put_new("a/x", b"1")
    blobs.put_new("b/y", b"2")
    blobs.move_new("a/x", "c/z")
    assert blobs.get("c/z") == b"1"
    assert list(blobs.list("")) == ["b/y", "c/z"]
    with pytest.raises(FileExistsError):
        blobs.move_new("b/y", "c/z")
    assert blobs.get("b/y") == b"2"
    with pytest.raises(FileNotFoundError):
        blobs.move_new("a/x", "d/w")


def test_deleting_can_be_repeated_and_what_is_gone_is_not_found(blobs: Blobs) -> None:
    blobs.put_new("a", b"1")
    blobs.delete("a")
    blobs.delete("a")
    with pytest.raises(FileNotFoundError):
        blobs.get("a")
    with pytest.raises(FileNotFoundError):
        blobs.get_range("a", 0, 1)


def test_many_blobs_are_deleted_with_one_sync_a_folder(tmp_path: Path) -> None:
    fs = CountedFiles()
    blobs = LocalBlobs(tmp_path, fs)
    for key in ("a/1/x", "a/2/x", "a/2/stays", "b/x", "b/stays"):
        blobs.put_new(key, b"1")
    fs.calls.clear()
    blobs.delete("a/1/x", "a/2/x", "b/x", "c/never")
    # a/1, a/2 and b; c does not exist.
    assert (fs.calls["sync_folder"], list(blobs.list(""))) == (3, ["a/2/stays", "b/stays"])
    assert (tmp_path / "a/1").is_dir()
    for _ in range(2):
        fs.calls.clear()
        blobs.delete("a/1/x", "a/2/stays", emptied=True)
        # The name that went is that of a folder: it is durable when the one it was in is.
        assert (fs.calls["sync_folder"], list(blobs.list(""))) == (1, ["b/stays"])
        assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("for_ever", [False, True])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("durable", [True, False])
def test_a_put_that_fails_anywhere_leaves_nothing_or_the_whole_blob(
    tmp_path: Path, code: int, for_ever: bool, short: bool, durable: bool
) -> None:
    data = b"z" * 100_000
    for nth in range(1, 100):
        fs = FaultyFiles(nth, code, for_ever=for_ever, short=short)
        faulty = LocalBlobs(tmp_path / str(nth), fs)
        (tmp_path / str(nth)).mkdir()
        try:
            faulty.put_new("deep/down/key", data, durable=durable)
            stored = True
        except OSError:
            stored = False
        sound = LocalBlobs(tmp_path / str(nth))
        found = list(sound.list(""))
        assert found in ([], ["deep/down/key"])
        # What is derived is written under its own name: a disk that takes nothing back may keep it torn.
        torn = not durable and not stored and for_ever
        assert torn or not found or sound.get(found[0]) == data
        assert found or not stored
        if not fs.fired:
            return
    raise AssertionError("faults never stopped firing")


def test_what_is_derived_costs_one_name_and_no_sync(tmp_path: Path) -> None:
    fs = CountedFiles()
    blobs = LocalBlobs(tmp_path, fs)
    blobs.put_new("a/durable", b"1")
    assert fs.calls == {"make_folder": 1, "sync": 1, "link": 1, "unlink": 1, "sync_folder": 2}
    fs.calls.clear()
    blobs.put_new("a/derived", b"2", durable=False)
    assert (blobs.get("a/derived"), fs.calls) == (b"2", {})
    with pytest.raises(FileExistsError):
        blobs.put_new("a/derived", b"3", durable=False)
    assert blobs.get("a/derived") == b"2"
