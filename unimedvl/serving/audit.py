"""Who asked for what, and what came of it: one line a request, in SQLite or PostgreSQL. Hashes, never text or pixels.

Lines are written by a thread, so that no request waits for the database; what can't be written is kept in memory and
tried again, and what finds no room there is counted as lost. Where the audit is required, a request is refused unless
its line is in the database before any work begins (`Audit.begin`).
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from unimedvl.serving.audit_table import AuditError, audit, opened, reason

logger = logging.getLogger(__name__)

BEGUN = "begun"  # outcome of the line that `Audit.begin` writes

_BATCH = 500
_LONGEST_TEXT = 400
_PAUSES = (1, 2, 5, 10, 30)  # seconds between attempts to write


@dataclass(frozen=True)
class AuditLine:
    """One request. at: when it was answered, or begun. seconds: that it took.

    who: the name of the key's owner; empty where no keys are asked for. outcome: a status of HTTP, or the kind of what
    went wrong. request: the id that the answer and the log bear. seed: None where chance played no part.
    """

    who: str
    task: str
    request_sha256: str
    input_sha256s: tuple[str, ...]
    output_sha256: str
    model: str
    weights_sha256: str
    seed: int | None
    outcome: str
    seconds: float
    at: datetime
    request: str = ""

    def row(self) -> dict[str, object]:
        """As the table holds it: texts of a bounded length, and of characters that every database takes."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class _Item:
    line: AuditLine
    done: Future | None = None  # of one that somebody waits for


class Audit:
    """The audit of one process. Of any threads; a context manager.

    written, lost: lines so far. failing: the last attempt to write failed. required: requests may not go unrecorded.
    """

    def __init__(
        self, engine: Engine, *, required: bool = False, room: int = 10_000,
        told: Callable[[int], None] = lambda count: None,
    ) -> None:  # fmt: skip
        """room: lines that are kept while the database can't be written. told: gets how many more were lost."""
        self._told = told
        self.required, self.written, self.lost, self.failing = required, 0, 0, False
        self._engine, self._room = engine, room
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closed, self._attempts, self._last_failure, self._full = False, 0, 0.0, False
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, url: str, **options: Any) -> Audit:
        """Open a database, and make its table where there is none.

        url: ``sqlite:///audit.db`` or ``postgresql://user:password@host/name``. options: as the constructor's.

        Raises:
            AuditError: the database can't be reached or written; without its password.
            ModuleNotFoundError: its driver is not installed.
        """
        return cls(opened(url, make=True), **options)

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, line: AuditLine) -> None:
        """Have a line written soon; returns at once. What finds no room is counted as lost, and said in the log."""
        with self._changed:
            if self._closed or len(self._waiting) >= self._room:
                self._lose(1, "is full")
                return
            self._full = False
            self._waiting.append(_Item(line))
            self._changed.notify_all()

    def begin(self, line: AuditLine, timeout: float = 10) -> None:
        """Write a line now, as one of a request that begins; returns when it is in the database.

        Raises:
            AuditError: it could not be written; the request must not go on where the audit is required.
        """
        done: Future = Future()
        with self._changed:
            if self._closed:
                raise AuditError("the audit is closed")
            self._waiting.append(_Item(replace(line, outcome=BEGUN), done))
            self._changed.notify_all()
        try:
            done.result(timeout)
        except (TimeoutError, SQLAlchemyError) as error:
            done.cancel()
            raise AuditError("the audit can't be written, and it is required") from error

    def flush(self, timeout: float = 10) -> bool:
        """Wait until all lines so far are written or lost; returns whether they are."""
        until = time.monotonic() + timeout
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, max(0.0, until - time.monotonic()))

    def close(self, timeout: float = 10) -> None:
        """Write what waits, trying once more where it failed before; then let the database go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            if self._waiting:  # the database hangs
                self._lose(len(self._waiting), "does not answer")
                self._waiting.clear()
        self._engine.dispose(close=not self._thread.is_alive())

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batch = list(itertools.islice(self._waiting, _BATCH))
            try:
                written = self._write([item.line for item in batch])
            except Exception as error:  # noqa: BLE001 - a driver raises what it likes, and requests go on
                self._failed(batch, error)
            else:
                self._succeeded(batch, written)

    def _write(self, lines: Sequence[AuditLine]) -> list[bool]:
        """Write lines together; where one of them is the fault, each alone. Returns which were written."""
        rows = [line.row() for line in lines]
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(audit), rows)
            return [True] * len(rows)
        except StatementError as error:
            if not _of_a_line(error):
                raise
        return [self._write_alone(row) for row in rows]

    def _write_alone(self, row: dict[str, object]) -> bool:
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(audit), [row])
        except StatementError as error:
            if not _of_a_line(error):
                raise
            logger.error("a line of the audit was refused by the database, and is lost")
            return False
        return True

    def _succeeded(self, batch: list[_Item], written: list[bool]) -> None:
        with self._changed:
            if self.failing:
                logger.warning("the audit is written again")
            self.failing, self._attempts = False, 0
            self.written += sum(written)
            self._count_lost(len(batch) - sum(written))
            self._remove(batch)
        for item, there in zip(batch, written, strict=True):
            if item.done is not None and item.done.set_running_or_notify_cancel():
                item.done.set_result(None) if there else item.done.set_exception(AuditFault("the line was refused"))

    def _failed(self, batch: list[_Item], error: Exception) -> None:
        """Tell whoever waits, keep the rest, and wait before the next attempt."""
        with self._changed:
            if not self.failing:
                logger.error("the audit can't be written (%s); its lines are kept for now", reason(error))
            self.failing, self._last_failure = True, time.monotonic()
            asked = [item for item in self._waiting if item.done is not None]
            self._remove(asked)
            if self._closed:
                self._lose(len(self._waiting), "can't be written")
                self._waiting.clear()
            self._changed.notify_all()
        for item in asked:
            if item.done.set_running_or_notify_cancel():
                item.done.set_exception(error if isinstance(error, SQLAlchemyError) else AuditFault(str(error)))
        pause = _PAUSES[min(self._attempts, len(_PAUSES) - 1)]
        self._attempts += 1
        with self._changed:
            # Somebody who must have their line written is reason to try at once, but not all the time.
            self._changed.wait_for(lambda: self._closed, 0.2)
            self._changed.wait_for(lambda: self._closed or any(i.done for i in self._waiting), pause)

    def _remove(self, batch: list[_Item]) -> None:
        gone = set(map(id, batch))
        self._waiting = deque(item for item in self._waiting if id(item) not in gone)
        self._changed.notify_all()

    def _lose(self, count: int, why: str) -> None:
        if not self._full and count:
            logger.error("the audit %s; lines are lost, which its count tells", why)
        self._full = True
        self._count_lost(count)

    def _count_lost(self, count: int) -> None:
        self.lost += count
        if count:
            self._told(count)


class AuditFault(SQLAlchemyError):
    """Something that is no error of a database went wrong where a line was written."""


def _of_a_line(error: StatementError) -> bool:
    """Whether a line is what the database, or its driver, could not take."""
    return not isinstance(error, DBAPIError) or isinstance(error, DataError | IntegrityError)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "")[:_LONGEST_TEXT]
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


def line_of(row: dict[str, object]) -> AuditLine:
    """A line from its row of the table."""
    values = {field.name: row[field.name] for field in fields(AuditLine)}
    return AuditLine(**values | {"input_sha256s": tuple(values["input_sha256s"])})
