"""The JavaScript client of the end-to-end tests, installed by npm into the user's cache on first use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "end_to_end" / "js_client"
INSTALL_TIMEOUT_S = 300.0
# Complete installations have it: npm leaves half of one behind when it is interrupted.
_COMPLETE = ".complete"


def js_client_dir() -> Path:
    """Folder with `send.mjs` and its packages, one for each package.json; installed when missing.

    Skips the test without Node.js or when npm cannot install, except under CI, where that is a failure.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _unavailable("Node.js and npm are not installed")
    manifest = (SOURCE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-audit" / "js-client"
    target = cache / hashlib.sha256(manifest).hexdigest()[:16]
    if not (target / _COMPLETE).exists():
        _install(str(npm), target)
    # Beside its packages, where Node.js looks for them; renamed, as another test process may be reading it.
    fresh = target / f"send-{os.getpid()}.tmp"
    shutil.copyfile(SOURCE / "send.mjs", fresh)
    fresh.rename(target / "send.mjs")
    return target


def js_send(protocol: str, endpoint: str, key: str, count: int, *arguments: str) -> dict[str, Any]:
    """Run send.mjs to its end and return the line it prints; fails unless every event is exported."""
    done = subprocess.run(
        [
            "node",
            "send.mjs",
            "--protocol",
            protocol,
            "--endpoint",
            endpoint,
            "--count",
            str(count),
            *arguments,
        ],
        cwd=js_client_dir(),
        env={"PATH": os.environ["PATH"], "OTEL_AUDIT_KEY": key},
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise AssertionError(f"send.mjs exited {done.returncode}: {done.stdout}{done.stderr}")
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def _install(npm: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / "client"
        folder.mkdir()
        shutil.copyfile(SOURCE / "package.json", folder / "package.json")
        command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
        if done.returncode != 0:
            _unavailable(f"npm install failed: {done.stderr[-500:]}")
        (folder / _COMPLETE).touch()
        try:
            folder.rename(target)
        except OSError:
            # Another test process was first; its installation is as good.
            if not (target / _COMPLETE).exists():
                raise


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
