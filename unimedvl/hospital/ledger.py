"""The SQLite database of an inbox: its tables, and transactions that are on the disk when they end."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# instances: every one that was ever acknowledged; file is NULL when it was deleted. passes: see `inbox`; late and
# digest are NULL until they are known. members: the instances of a pass. results: stored is NULL until a destination
# has the result.
_TABLES = """
CREATE TABLE IF NOT EXISTS instances(
    uid TEXT PRIMARY KEY, study TEXT NOT NULL, file TEXT, bytes INTEGER NOT NULL, received REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_of_study ON instances(study);
CREATE TABLE IF NOT EXISTS passes(
    id INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, state TEXT NOT NULL, received REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    late TEXT, digest TEXT, changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS passes_of_study ON passes(study);
CREATE INDEX IF NOT EXISTS passes_in_state ON passes(state) WHERE state != 'done';
CREATE UNIQUE INDEX IF NOT EXISTS passes_of_set ON passes(digest);
CREATE TABLE IF NOT EXISTS members(
    pass INTEGER NOT NULL, instance TEXT NOT NULL, PRIMARY KEY(pass, instance)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS passes_of_instance ON members(instance);
CREATE TABLE IF NOT EXISTS results(
    pass INTEGER NOT NULL, file TEXT NOT NULL, destination TEXT NOT NULL, uid TEXT NOT NULL, stored REAL,
    PRIMARY KEY(pass, file, destination)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_of_uid ON results(uid);
"""


class Ledger:
    """One connection for all threads of a process; `lock` is held by who uses it."""

    def __init__(self, file: Path) -> None:
        """Raises sqlite3.Error and OSError."""
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")  # a commit is on the disk
        self._connection.executescript(_TABLES)
        os.chmod(file, 0o600)

    def close(self) -> None:
        with self.lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside, or nothing."""
        with self.lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def do(self, statement: str, *values: object) -> sqlite3.Cursor:
        with self.lock:
            return self._connection.execute(statement, values)

    def one(self, statement: str, *values: object) -> sqlite3.Row | None:
        with self.lock:
            return self._connection.execute(statement, values).fetchone()

    def all(self, statement: str, *values: object) -> list[sqlite3.Row]:
        with self.lock:
            return self._connection.execute(statement, values).fetchall()
