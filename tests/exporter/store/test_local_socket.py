"""Where the server's Unix sockets lie, and what a killed server's leave behind."""

from __future__ import annotations

import socket
import socketserver
import stat
from pathlib import Path

import pytest

from otel_audit.exporter.store.intake.local_socket import PATH_BYTES_MAX, bind_local, remove_local


def unbound() -> socketserver.UnixStreamServer:
    return socketserver.UnixStreamServer("", socketserver.BaseRequestHandler, bind_and_activate=False)


def reach(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))


def test_the_socket_is_in_the_run_folder_and_a_killed_servers_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("data/run")
    killed, server = unbound(), unbound()
    bind_local(killed, run, "control.sock")
    killed.server_close()
    path = bind_local(server, run, "control.sock")
    assert path == tmp_path / "data" / "run" / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    reach(path)
    server.server_close()
    remove_local(path, run)
    assert list(path.parent.iterdir()) == []


def test_where_the_name_would_be_too_long_it_is_in_a_private_folder(tmp_path: Path) -> None:
    run = tmp_path / ("deep" * (PATH_BYTES_MAX // 4))
    server = unbound()
    path = bind_local(server, run, "control.sock")
    assert not path.is_relative_to(tmp_path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    reach(path)
    server.server_close()
    remove_local(path, run)
    assert not path.parent.exists()
