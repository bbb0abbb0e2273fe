"""Fails when a module has grown past 400 lines: it wants to be two."""

from __future__ import annotations

import sys
from pathlib import Path

LINES_MAX = 400


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    folders = ("instrumentation", "exporter", "query_service")
    files = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    long = [(path, count) for path in files if (count := len(path.read_text().splitlines())) > LINES_MAX]
    for path, count in long:
        sys.stderr.write(f"{path.relative_to(root)}: {count} lines, at most {LINES_MAX}\n")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
