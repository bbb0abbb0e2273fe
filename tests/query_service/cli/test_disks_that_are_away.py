"""A disk that is not mounted, and a path or a configuration that is not the right one, are no empty store."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from otel_audit.query_service.app.core import Core
from otel_audit.query_service.cli.main import run as run_here
from otel_audit.query_service.control.outbox import Actor
from otel_audit.query_service.settings import Settings
from tests.support.otlp_client import post, record, request, send
from tests.support.process import Serve, run, secret, wait_for
from tests.support.rows import batch, row

Capture = pytest.CaptureFixture[str]

LISTENERS = [
    part for name in ("otlp-grpc", "otlp-http", "http", "metrics") for part in (f"--{name}", "127.0.0.1:0")
]
OF_TENANT = (
    ["search"],
    ["sql", "SELECT 1"],
    ["files"],
    ["files", "--seal"],
    ["export", "-o", "-"],
    ["checkpoint"],
    ["verify"],
)
OF_ALL = (["verify"], ["scrub"], ["retention", "run"], ["doctor"])


class Place:
    """acme in the region eu, globex in the data directory, both sealed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.eu = folder, folder / "data", folder / "eu"
        self.config = folder / "config.toml"
        self.config.write_text(f'[regions]\neu = "{self.eu}"\n')
        core = self.core()
        core.tenants.add("acme", region="eu")
        core.tenants.add("globex")
        core.self_audit.drain_outbox()
        core.store.append({"acme": batch(row()), "globex": batch(row())})
        core.store.seal()
        core.close()

    def core(self) -> Core:
        return Core(Settings.load(self.data, config=self.config))

    def run(self, *arguments: str, config: bool = True) -> int:
        chosen = ["--config", str(self.config)] if config else []
        return run_here([*arguments, "--data-dir", str(self.data), *chosen])

    def backup(self) -> int:
        return self.run("backup", "--to", str(self.folder / "backup"))

    def serve(self) -> tuple[int, str]:
        done = run(self.data, "serve", *LISTENERS, "--config", str(self.config), check=False)
        return done.returncode, done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def key_of(place: Place, tenant: str) -> str:
    return secret(place.data, "key", "create", "--tenant", tenant)


def degraded(server: Serve, about: str = "") -> str:
    """What a probe is told, in one line."""
    lines = httpx.get(server.url("/readyz")).json()["degraded"]
    return "; ".join(line for line in lines if about in line)


def unmount(folder: Path) -> None:
    """What is left of a mount point: an empty folder."""
    folder.rename(folder.with_name(f"{folder.name}-disk"))
    folder.mkdir()


def mount(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.with_name(f"{folder.name}-disk").rename(folder)


def refused(capsys: Capture, gone: Path | str) -> None:
    """One line that names what is gone, and a hint."""
    told = capsys.readouterr()
    errors = [line for line in (told.err + told.out).splitlines() if str(gone) in line]
    assert len(errors) == 1, told
    assert "is the disk mounted?" in told.err + told.out


def test_a_region_whose_disk_is_away_is_refused_and_not_claimed_again(place: Place, capsys: Capture) -> None:
    unmount(place.eu)
    code, told = place.serve()
    assert code == 1
    assert told.splitlines()[-2:] == [
        f"error: {place.eu} was the root of region eu, and its file 'region' is gone",
        "hint: is the disk mounted? if it is lost, restore the root from a backup",
    ]
    for command in OF_TENANT:
        assert place.run(*command, "--tenant", "acme") == 1, command
        refused(capsys, place.eu)
    for command in OF_ALL:
        assert place.run(*command) == 1, command
        refused(capsys, place.eu)
    assert place.backup() == 1
    refused(capsys, place.eu)
    assert list(place.eu.iterdir()) == [], "nothing is made on the wrong disk"
    mount(place.eu)
    assert place.run("verify") == 0


def test_while_one_regions_disk_is_away_another_regions_events_are_found(
    place: Place, capsys: Capture
) -> None:
    unmount(place.eu)
    assert place.run("search", "--tenant", "globex") == 0
    assert place.run("checkpoint", "--tenant", "globex") == 0


@pytest.mark.parametrize("what", ["store", "store/tenant=globex", "wal"])
def test_a_folder_that_held_rows_and_is_away_is_refused(place: Place, capsys: Capture, what: str) -> None:
    folder = place.data / what
    unmount(folder)
    folder.rmdir()
    code, told = place.serve()
    assert code == 1
    assert told.splitlines()[-2:] == [
        f"error: {folder} held rows and is gone",
        "hint: is the disk mounted? if it is lost, restore the folder from a backup",
    ]
    for command in OF_TENANT:
        assert place.run(*command, "--tenant", "globex") == 1, command
        refused(capsys, f"{folder} held rows")
    for command in (["scrub"], ["retention", "run"], ["doctor"]):
        assert place.run(*command) == 1, command
        refused(capsys, f"{folder} held rows")
    assert place.run("verify") == 1
    assert f"{folder} held rows and is gone" in capsys.readouterr().err
    assert place.backup() == 1
    refused(capsys, f"{folder} held rows")
    lines = place.folder / "lines.json"
    lines.write_text("{}")
    assert place.run("import", "--tenant", "globex", str(lines)) == 1
    refused(capsys, f"{folder} held rows")
    assert not folder.exists()
    folder.with_name(f"{folder.name}-disk").rename(folder)
    assert place.run("verify") == 0


def test_an_empty_mount_point_instead_of_the_store_is_refused(place: Place, capsys: Capture) -> None:
    unmount(place.data / "store")
    code, told = place.serve()
    assert code == 1
    assert "held rows and is gone" in told
    assert list((place.data / "store").iterdir()) == []


def test_an_organization_that_never_had_an_event_needs_no_folder(place: Place) -> None:
    assert place.run("tenant", "add", "hooli", "--region", "eu") == 0
    assert place.run("search", "--tenant", "hooli") == 0
    assert place.run("verify", "--tenant", "hooli") == 0


def test_a_region_that_was_never_opened_may_be_empty(place: Place) -> None:
    (place.folder / "us").mkdir()
    with place.config.open("a") as file:
        file.write(f'us = "{place.folder / "us"}"\n')
    assert place.run("tenant", "add", "hooli", "--region", "us") == 0
    assert place.run("verify") == 0
    place.core().close()
    assert (place.folder / "us" / "region").read_text() == "us\n"


def test_a_data_directory_of_an_earlier_release_is_noted_at_its_first_start(place: Place) -> None:
    for root in (place.data, place.eu):
        shutil.rmtree(root / "known")
    place.core().close()
    assert (place.eu / "known" / "acme").exists()
    assert (place.data / "known" / "globex").exists()


def test_a_deleted_and_a_moved_organization_are_not_missed(place: Place) -> None:
    assert place.run("tenant", "move", "acme", "--region", "default") == 0
    assert place.run("tenant", "delete", "globex", "--yes", "globex") == 0
    place.core().close()
    assert place.run("verify") == 0
    assert place.run("doctor") == 0
    assert not (place.eu / "known" / "acme").exists()
    assert (place.data / "known" / "acme").exists()


def test_an_organization_whose_folder_is_lost_for_good_can_be_deleted(place: Place) -> None:
    shutil.rmtree(place.data / "store" / "tenant=globex")
    assert place.run("scrub") == 1
    assert place.run("tenant", "delete", "globex", "--yes", "globex") == 0
    assert place.run("scrub") == 0


def test_a_running_server_names_a_folder_that_went_away(place: Place) -> None:
    with Serve(place.data, "--config", str(place.config)) as server:
        http, key = server.addresses["otlp_http"], key_of(place, "acme")
        send(http, key, [record()])
        assert httpx.get(server.url("/readyz")).json()["degraded"] == []
        (place.data / "store" / "tenant=globex").rename(place.folder / "globex")
        found = wait_for(lambda: degraded(server, "findings about where organizations' data is"))
        assert "1 findings" in found
        (place.folder / "globex").rename(place.data / "store" / "tenant=globex")
        wait_for(lambda: not degraded(server))


def test_nothing_is_written_where_the_disk_of_a_running_servers_region_was(place: Place) -> None:
    with Serve(place.data, "--config", str(place.config)) as server:
        http = server.addresses["otlp_http"]
        acme, globex = key_of(place, "acme"), key_of(place, "globex")
        send(http, acme, [record()])
        unmount(place.eu)
        assert degraded(server) == f"region eu: {place.eu}/writer-id is gone; is the disk mounted?"
        assert httpx.get(server.url("/readyz")).status_code == 200
        assert post(http, acme, request([record()]).SerializeToString())[0] == 503
        send(http, globex, [record()])
        for command in (["scrub"], ["retention", "run"]):
            assert place.run(*command) == 1
        wait_for(lambda: "sealing failed" in server.log.read_text())
        assert list(place.eu.iterdir()) == []
        mount(place.eu)
        send(http, acme, [record()])
        wait_for(lambda: not degraded(server))
    assert place.run("verify") == 0


def test_no_control_database_is_made_beside_a_root_that_another_one_knows(
    place: Place, capsys: Capture
) -> None:
    unmount(place.data)
    code, told = place.serve()
    assert code == 1
    assert f"{place.data} has no control database, and {place.eu} is already a region's root" in told
    assert place.run("tenant", "add", "hooli") == 1
    assert "is the disk of the data directory mounted?" in capsys.readouterr().err
    assert list(place.data.iterdir()) == []


def test_a_cut_off_deletion_is_in_the_first_answer_of_a_restarted_server(place: Place) -> None:
    core = place.core()
    core.deletions.begin("acme", actor=Actor("os:ada"))
    core.close()
    with Serve(place.data, "--config", str(place.config)) as server:
        told = httpx.get(server.url("/readyz")).json()["degraded"]
    assert told == ["1 findings about where organizations' data is; see 'otel-audit doctor'"]


@pytest.mark.parametrize(
    "command", [*OF_ALL[:-1], ["backup", "--to", "BACKUP"], ["tenant", "move", "globex"]]
)
def test_a_mistyped_data_directory_is_refused_and_not_made(
    tmp_path: Path, capsys: Capture, command: list[str]
) -> None:
    wrong = tmp_path / "wrong"
    command = [part.replace("BACKUP", str(tmp_path / "backup")) for part in command]
    extra = ["--region", "default"] if "move" in command else []
    for made in (False, True):
        if made:
            wrong.mkdir()
        assert run_here([*command, *extra, "--data-dir", str(wrong)]) == 1
        error, hint = capsys.readouterr().err.splitlines()
        assert error.startswith("error: ")
        assert hint.startswith("hint: check --data-dir")
        assert [path for path in tmp_path.rglob("*") if path != wrong] == []


@pytest.mark.parametrize("command", OF_TENANT)
def test_a_mistyped_data_directory_has_no_organization(
    tmp_path: Path, capsys: Capture, command: list[str]
) -> None:
    assert run_here([*command, "--tenant", "globex", "--data-dir", str(tmp_path / "wrong")]) == 1
    assert "hint: check --data-dir" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_servers_configuration_every_command_refuses(place: Place, capsys: Capture) -> None:
    commands = [[*command, "--tenant", tenant] for command in OF_TENANT for tenant in ("acme", "globex")]
    backup = ["backup", "--to", str(place.folder / "backup")]
    for command in [*commands, *OF_ALL, backup]:
        assert place.run(*command, config=False) == 1, command
        told = capsys.readouterr()
        assert "organizations are pinned to region eu, which is not configured" in told.err + told.out
        assert "every command needs the server's configuration" in told.err + told.out
    assert not (place.folder / "backup").exists()
