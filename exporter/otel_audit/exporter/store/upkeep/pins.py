"""Files that a list names stay where they are for an hour, so that another engine can read them in peace.

A pin holds back compaction only; what retention must delete goes when its day has come.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..files.blobs import put_new
from ..partition import RegionRoot

PINNED_S: Final = 3_600.0
# A list a second for an hour; older ones than that are gone.
_PINS_MAX: Final = 3_600


def pin_files(root: RegionRoot, paths: Iterable[Path], now: float) -> None:
    """Keep `paths` in place for an hour from `now`, seconds since 1970-01-01 UTC."""
    pin = {"until": now + PINNED_S, "files": [root.key(path) for path in paths]}
    put_new(root.run / "pins" / f"{uuid.uuid4().hex}.json", json.dumps(pin).encode())


def pinned(root: RegionRoot, now: float) -> set[Path]:
    """Files that are pinned at `now`; drops pins that are over."""
    found: set[Path] = set()
    for path in sorted((root.run / "pins").glob("[0-9a-f]*.json"))[:_PINS_MAX]:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            pin = json.loads(path.read_bytes())
            if pin["until"] <= now:
                path.unlink()
            else:
                found.update(root.path / key for key in pin["files"])
    return found
