"""The audit in a real PostgreSQL: as in SQLite, and while the database comes and goes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from unimedvl.cli.main import main
from unimedvl.serving.audit import BEGUN, Audit, AuditLine
from unimedvl.serving.audit_table import AuditError, read_lines

PASSWORD = "not-a-secret"
LINE = AuditLine(
    who="ward-3", task="ask", request_sha256="a" * 64, input_sha256s=("b" * 64,), output_sha256="d" * 64, model="nano",
    weights_sha256="e" * 64, seed=2**63 - 1, outcome="200", seconds=0.25,
    at=datetime(2026, 11, 26, 8, 30, 1, 250_000, UTC), request="req_1",
)  # fmt: skip


def line(request: str) -> AuditLine:
    return AuditLine(**vars(LINE) | {"request": request})


def program(name: str) -> str:
    """One of PostgreSQL's programs, which Debian keeps away from the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    if found is None:
        pytest.exit("tests/e2e needs PostgreSQL; run them as `make test-e2e`", returncode=1)
    return found


@dataclass
class Postgres:
    """A server of our own in a folder, of a user that is not root."""

    folder: Path
    port: int
    user: str | None

    def url(self, name: str = "owner", password: str = PASSWORD) -> str:
        return f"postgresql://{name}:{password}@127.0.0.1:{self.port}/postgres"

    def run(self, name: str, *arguments: str) -> None:
        given = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        done = subprocess.run(
            [program(name), *arguments], cwd=self.folder, env=os.environ | {"LC_ALL": "C.UTF-8"}, timeout=60,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **given,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -F"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="unimedvl-pg-", dir="/tmp"))  # short, for its socket; others reach it
    user = "postgres" if os.geteuid() == 0 else None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "password").write_text(PASSWORD)
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user, user)
    server = Postgres(folder, port, user)
    server.run("initdb", "-D", str(folder / "data"), "-U", "owner", "-A", "scram-sha-256", "--pwfile", "password")
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def empty(postgres: Postgres) -> Postgres:
    """The server without the table."""
    with psycopg.connect(postgres.url()) as connection:
        connection.execute("DROP TABLE IF EXISTS unimedvl_audit; DROP ROLE IF EXISTS writer")
    return postgres


def test_lines_come_back_and_can_only_be_added_to(empty, capsys):
    with Audit.open(empty.url()) as audit:
        for n in range(1200):
            audit.record(line(f"r{n}"))
    assert [one.request for one in read_lines(empty.url())] == [f"r{n}" for n in range(1200)]
    assert next(read_lines(empty.url(), last=1)) == line("r1199")
    for statement in ("UPDATE unimedvl_audit SET who = 'x'", "DELETE FROM unimedvl_audit", "TRUNCATE unimedvl_audit"):
        with psycopg.connect(empty.url()) as connection, pytest.raises(psycopg.Error, match="can only be added to"):
            connection.execute(statement)
    assert main(["audit", "show", "--url", empty.url(), "--last", "1"]) == 0
    assert "r1199" in capsys.readouterr().out


def test_its_owner_deletes_old_lines_as_the_guide_says(empty):
    with Audit.open(empty.url()) as audit:
        for year in (2024, 2025, 2026):
            audit.record(AuditLine(**vars(LINE) | {"at": datetime(year, 6, 1, tzinfo=UTC)}))
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    off, on = re.findall(r"-- PostgreSQL: (.*;)", page)
    [delete] = re.findall(r"^DELETE FROM .*;$", page, re.M)
    with psycopg.connect(empty.url()) as connection:
        for statement in (off, delete, on):
            connection.execute(statement)
    assert [one.at.year for one in read_lines(empty.url())] == [2026]
    with psycopg.connect(empty.url()) as connection, pytest.raises(psycopg.Error, match="can only be added to"):
        connection.execute("DELETE FROM unimedvl_audit")


def test_a_role_that_may_only_add_and_read_is_enough(empty):
    Audit.open(empty.url()).close()
    with psycopg.connect(empty.url()) as connection:
        connection.execute(f"CREATE ROLE writer LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("GRANT SELECT, INSERT ON unimedvl_audit TO writer")
    with Audit.open(empty.url("writer")) as audit:
        audit.begin(LINE)
    assert [one.outcome for one in read_lines(empty.url("writer"))] == [BEGUN]
    with psycopg.connect(empty.url()) as connection:
        connection.execute("DROP OWNED BY writer")


def test_replicas_may_make_the_table_at_one_time(empty):
    audits, wrong = [], []

    def start() -> None:
        try:
            audits.append(Audit.open(empty.url()))
        except Exception as error:  # noqa: BLE001 - shown by the test
            wrong.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for audit in audits:
        audit.record(LINE)
        audit.close()
    assert (wrong, sum(1 for _ in read_lines(empty.url()))) == ([], 6)


def test_a_database_that_goes_and_comes_back_loses_no_line(empty, monkeypatch, caplog):
    monkeypatch.setattr("unimedvl.serving.audit._PAUSES", (0.2,))
    with Audit.open(empty.url()) as audit:
        audit.record(line("before"))
        assert audit.flush()
        empty.stop()
        try:
            audit.record(line("during"))
            with pytest.raises(AuditError, match="can't be written, and it is required"):
                audit.begin(line("refused"))
            assert audit.failing
        finally:
            empty.start()
        assert audit.flush(30) and not audit.failing
        audit.begin(line("after"))
    assert [one.request for one in read_lines(empty.url())] == ["before", "during", "after"]
    said = [record.getMessage() for record in caplog.records]
    assert sum("can't be written" in text for text in said) == 1 and not any(PASSWORD in text for text in said)


def test_what_is_wrong_is_told_in_one_line_without_the_password(empty, capsys):
    for url, said in ((empty.url(password="wrong-secret"), "password authentication failed"),
                      (empty.url().replace("/postgres", "/nothing"), "does not exist")):  # fmt: skip
        assert main(["audit", "show", "--url", url]) == 2
        shown = capsys.readouterr().err
        assert said in shown and shown.count("\n") == 1 and "secret" not in shown
    assert main(["audit", "show", "--url", empty.url()]) == 2
    assert "holds no audit" in capsys.readouterr().err


@contextmanager
def serving(postgres: Postgres) -> Iterator[httpx.Client]:
    """`unimedvl serve` as a process of its own, whose audit is required; a client of it."""
    command = [sys.executable, "-m", "unimedvl", "serve", "--port", "0", "page=false", "audit_required=true"]
    environment = os.environ | {"UNIMEDVL_SERVE_AUDIT": postgres.url(), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+:\d+", process.stdout.readline())[0]
            assert process.stdout.readline() == "ready\n"
            with httpx.Client(base_url=address, timeout=60) as client:
                yield client
        finally:
            process.terminate()
            process.wait(60)


def test_a_server_refuses_what_it_can_not_record_and_goes_on_when_it_can(empty, capsys):
    body = {"messages": [{"role": "user", "content": "Is it normal?"}], "max_tokens": 3}
    with serving(empty) as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        empty.stop()
        try:
            refused = client.post("/v1/chat/completions", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "audit_unavailable")
            assert client.get("/health").status_code == 200
        finally:
            empty.start()
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert main(["audit", "show", "--url", empty.url(), "--json"]) == 0
    outcomes = [one["outcome"] for one in json.loads(capsys.readouterr().out)]
    assert outcomes == ["begun", "200", "503", "begun", "200"]
