"""The table of the audit, which can be added to and not changed, and how its database is opened and read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    Identity,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from unimedvl.serving.audit import AuditLine

_FORMS = "sqlite:///audit.db or postgresql://user:password@host/name"
_SECONDS = 10  # for a database to answer, or another process to let go of it


class AuditError(ValueError):
    """The audit can't be opened, read or written; the message is one line without a password.

    status, code: what a request is told where the audit is required.
    """

    status, code = 503, "audit_unavailable"


class _Utc(TypeDecorator):
    """A time in UTC, also where the database knows no zones."""

    impl, cache_ok = DateTime(timezone=True), True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


audit = Table(
    "unimedvl_audit",
    MetaData(),
    # Identity: in PostgreSQL a role then needs no right to a sequence beside that to the table.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("at", _Utc, nullable=False, index=True),
    Column("request", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("model", Text, nullable=False),
    Column("weights_sha256", Text, nullable=False),
    Column("seed", BigInteger),
    Column("request_sha256", Text, nullable=False),
    Column("input_sha256s", JSON, nullable=False),
    Column("output_sha256", Text, nullable=False),
)
# What the table's owner has to take away before a line can be changed or deleted; see docs/security.md.
_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS unimedvl_audit_no_{word} BEFORE {word} ON unimedvl_audit"
        " BEGIN SELECT RAISE(ABORT, 'the audit can only be added to'); END"
        for word in ("update", "delete")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION unimedvl_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the audit can only be added to'; END $$",
        "CREATE TRIGGER unimedvl_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON unimedvl_audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION unimedvl_audit_append_only()",
    ],
}


def opened(url: str, *, make: bool) -> Engine:
    """A database with the audit's table; make: where it is missing.

    Raises:
        AuditError: no such form, database or table. ModuleNotFoundError: its driver is not installed.
    """
    engine = _engine(url, make)
    try:
        there = inspect(engine).has_table(audit.name)
        if not there and not make:
            raise AuditError(f"{_shown(engine)}: holds no audit")
        # SQLite makes what belongs together one by one, so that a part of it may be missing.
        if make and not (there and engine.dialect.name == "postgresql"):
            _make_table(engine)
    except DBAPIError as error:
        engine.dispose()
        raise AuditError(f"{_shown(engine)}: {reason(error)}") from error
    except AuditError:
        engine.dispose()
        raise
    return engine


def read_lines(
    url: str, *, since: datetime | None = None, until: datetime | None = None, who: str | None = None,
    last: int | None = None,
) -> Iterator[AuditLine]:  # fmt: skip
    """The lines of an audit in their order, lazily. last: so many of the newest.

    Raises:
        AuditError: it can't be opened or read.
    """
    from unimedvl.serving.audit import line_of

    wanted = [audit.c.at >= since] if since else []
    wanted += [audit.c.at < until] if until else []
    wanted += [audit.c.who == who] if who else []
    query = select(audit).where(*wanted).order_by(audit.c.id)
    if last is not None:
        newest = select(audit).where(*wanted).order_by(audit.c.id.desc()).limit(last).subquery()
        query = select(newest).order_by(newest.c.id)
    engine = opened(url, make=False)
    try:
        with engine.connect() as connection:
            rows = connection.execution_options(stream_results=True, max_row_buffer=1000).execute(query)
            for row in rows.mappings():
                yield line_of(dict(row))
    except DBAPIError as error:
        raise AuditError(f"{_shown(engine)}: {reason(error)}") from error
    finally:
        engine.dispose()


def reason(error: Exception) -> str:
    """What a database says is wrong, on one line and without what was to be written."""
    said = str(getattr(error, "orig", None) or "").strip() if isinstance(error, DBAPIError) else ""
    return " ".join(said.split())[:300] or type(error).__name__


def _engine(url: str, make: bool) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in _APPEND_ONLY:
            raise ArgumentError(parsed.get_backend_name())
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise AuditError(f"the audit's URL is of no form that is known; give {_FORMS}") from error
    options: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True}
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed.database, make)
        engine = create_engine(parsed, connect_args={"timeout": _SECONDS}, **options)
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    return create_engine(parsed, connect_args={"connect_timeout": _SECONDS}, pool_size=1, max_overflow=1, **options)


def _check_file(name: str | None, make: bool) -> None:
    """Have a file that only its owner may read. Raises AuditError."""
    if not name or name == ":memory:":
        raise AuditError(f"the audit's URL names no file; give {_FORMS}")
    file = Path(name)
    if file.exists():
        return
    if not make:
        raise AuditError(f"{file}: no such file")
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise AuditError(f"{file}: {error.strerror}") from error


def _set_up_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=FULL"):  # readers beside a writer; on the disk when it is said
        with suppress(Exception):  # of a file that may only be read
            cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _make_table(engine: Engine) -> None:
    """Make the table and what keeps it from being changed, or neither. Another process may be doing the same."""
    try:
        with engine.begin() as connection:
            audit.create(connection, checkfirst=True)
            for statement in _APPEND_ONLY[engine.dialect.name]:
                connection.execute(text(statement))
    except DBAPIError:
        if not inspect(engine).has_table(audit.name):
            raise


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
