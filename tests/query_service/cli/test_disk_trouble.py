"""What commands say, and still do, on a disk that takes no write and in a folder that is to stay as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Serve, run, secret

ROOM_BYTES = 64 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not mount(folder, "rw"):
        pytest.skip("only root on Linux can mount a disk for the test")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"{options},size={ROOM_BYTES}", "audit-test", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "fill").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 65536):
                pass
        except OSError:
            return


@pytest.fixture
def stored(disk: Path) -> Path:
    """A data directory on that disk, with rows of acme in files."""
    folder = disk / "data"
    secret(folder, "tenant", "add", "acme")
    run(folder, "files", "--tenant", "acme", "--seal")
    return folder


def refused(folder: Path, *arguments: str) -> str:
    """The hint of a command that fails as commands do."""
    done = run(folder, *arguments, check=False)
    assert done.returncode == 1, done.stdout
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert "Errno" not in error
    return hint


SERVE = (
    "serve",
    *(
        part
        for name in ("otlp-grpc", "otlp-http", "http", "metrics")
        for part in (f"--{name}", "127.0.0.1:0")
    ),
)
CHANGES = (SERVE, ("tenant", "add", "globex"), ("search", "--tenant", "acme"))


def test_verify_and_checkpoint_work_on_a_read_only_disk_and_others_say_why_not(stored: Path) -> None:
    make_read_only(stored.parent)
    (acme, *_) = json.loads(run(stored, "verify", "--json").stdout)
    assert (acme["tenant"], acme["problems"]) == ("acme", [])
    assert acme["files"] == 1
    assert json.loads(run(stored, "checkpoint", "--tenant", "acme").stdout)["tenant"] == "acme"
    for command in CHANGES:
        assert "read-only" in refused(stored, *command)
    assert "hint: " in refused(stored.parent / "new", *SERVE)


def test_a_database_left_by_a_kill_is_verified_on_a_read_only_disk(disk: Path) -> None:
    folder = disk / "data"
    server = Serve(folder).start()
    try:
        secret(folder, "tenant", "add", "acme")
    finally:
        server.kill()
    make_read_only(disk)
    assert {each["tenant"] for each in json.loads(run(folder, "verify", "--json").stdout)} >= {"acme"}


def test_verify_works_on_a_full_disk_and_others_say_that_it_is_full(stored: Path) -> None:
    fill(stored.parent)
    assert run(stored, "verify", "--tenant", "acme").returncode == 0
    for command in CHANGES:
        assert "full" in refused(stored, *command)
    assert "full" in refused(stored.parent / "new", *SERVE)


def test_what_tenant_export_made_is_verified_but_never_written_to(tmp_path: Path) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    secret(folder, "tenant", "add", "acme")
    run(folder, "tenant", "export", "acme", "--to", str(copy))
    before = sorted(copy.rglob("*"))
    for command in (SERVE, ("tenant", "add", "globex")):
        assert "another --data-dir" in refused(copy, *command)
    assert run(copy, "verify", "--tenant", "acme").returncode == 0
    assert sorted(copy.rglob("*")) == before
