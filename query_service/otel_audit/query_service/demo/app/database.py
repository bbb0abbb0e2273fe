"""Quire's own SQLite database: one connection, one lock, rows by name."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = """
CREATE TABLE people (
  id TEXT PRIMARY KEY, organization TEXT NOT NULL, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  role TEXT NOT NULL, password TEXT NOT NULL, sso INTEGER NOT NULL DEFAULT 0, mfa_secret TEXT,
  mfa_active INTEGER NOT NULL DEFAULT 0);
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES people (id), mfa_pending INTEGER NOT NULL,
  opened_at REAL NOT NULL, seen_at REAL NOT NULL, address TEXT, agent TEXT);
CREATE TABLE resets (token_sha256 TEXT PRIMARY KEY, person TEXT NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE mail (id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE files (
  id TEXT PRIMARY KEY, organization TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
  source TEXT, owner TEXT NOT NULL, indexed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE sources (
  id TEXT PRIMARY KEY, organization TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'new');
CREATE TABLE qa_pairs (
  id TEXT PRIMARY KEY, organization TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL);
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY, organization TEXT NOT NULL, name TEXT NOT NULL, secret_sha256 TEXT NOT NULL UNIQUE,
  revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE integrations (
  organization TEXT NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL, PRIMARY KEY (organization, name));
"""

Value = str | int | float | None


class Database:
    """Statements run one at a time; `change` makes several of them one transaction."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        # The whole database lives no longer than the process, so nothing is gained by waiting for the disk.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(SCHEMA)

    def run(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Run one statement; the number of rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def one(self, statement: str, values: Sequence[Value] = ()) -> dict[str, Any] | None:
        """The first row, None when there is none."""
        with self._lock:
            row = self._connection.execute(statement, values).fetchone()
        return dict(row) if row is not None else None

    def all(self, statement: str, values: Sequence[Value] = ()) -> list[dict[str, Any]]:
        """Every row; callers put a LIMIT where a table can grow."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement, values).fetchall()]

    @contextmanager
    def change(self) -> Iterator[None]:
        """A transaction around what runs inside."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()
