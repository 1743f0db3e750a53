"""Studies on their way: received, ready, running, made, stored, done or failed; kept in SQLite and a folder.

What is acknowledged is on the disk: an instance's file is forced there before its row is committed, and the row before
`receive` returns. States only move on in transactions, so a process that is killed goes on where the last one ended.

A *pass* is one handling of one set of instances of a study. It is run until its results are recorded, and from then on
only sent: the same bytes under the same UIDs, so sending again what was sent already changes nothing at the receiver.
That is what makes every study be handled exactly once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unimedvl.data.error import DataError
from unimedvl.data.whole import written_whole
from unimedvl.hospital.disk import locked, refusal, synced
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.ledger import Ledger

STATES = ("received", "ready", "running", "made", "stored", "done", "failed")
Outcome = Literal["kept", "duplicate", "own", "late"]
Late = Literal["ignore", "again"]


@dataclass(frozen=True)
class Pass:
    """A set of instances of a study on its way. files: those of its instances that are still there."""

    id: int
    study: str
    state: str
    attempts: int
    reason: str
    changed: float
    instances: int
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Result:
    """A file that goes to a destination. uid: of the instance, or of what else it holds."""

    file: Path
    destination: str
    uid: str


class Inbox:
    """The folder of a listener. Several threads may use one; several processes each their own.

    Layout: inbox.sqlite; studies/ with a file an instance; results/ with a folder a pass. Names are hashes.
    """

    def __init__(self, folder: Path, *, owner: bool = False, reserve: int = 0) -> None:
        """owner: whether this is the process that runs passes, of which there is one at a time.

        reserve: bytes that received files must leave free on the disk.

        Raises:
            HospitalError: the folder can't be used, or is another listener's; without `owner`, there is no inbox in it.
        """
        self.folder, self.reserve = Path(folder), reserve
        file = self.folder / "inbox.sqlite"
        if not owner and not file.is_file():
            raise HospitalError(f"{folder}: holds no inbox; give the --folder of `unimedvl hospital listen`")
        self._owned = None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("studies", "results"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            if owner:
                self._owned = locked(self.folder / "lock")
            self._ledger = Ledger(file)
        except BlockingIOError as error:
            raise HospitalError(f"{folder}: another listener uses this folder; stop it, or give another") from error
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise HospitalError(f"{folder}: can't be used as an inbox ({reason})") from error

    def close(self) -> None:
        self._ledger.close()
        if self._owned is not None:
            os.close(self._owned)
            self._owned = None

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Receiving -------------------------------------------------------------------------------

    def receive(self, data: bytes, uid: str, study: str, own: bool = False) -> Outcome:
        """Keep an instance. When this returns it is on the disk, recorded, and may be acknowledged.

        data: the bytes of its file. uid, study: its SOP and study instance UIDs. own: it says of itself that it is a
        result; those are not kept, nor are those that are recorded as results, nor what was received before.

        Returns "late" for an instance of a study that is handled already, kept but not handled.

        Raises:
            NoRoom: the disk is full. HospitalError: it can't be written for another reason, or its UID was received
                in another study. Nothing is kept then.
        """
        with self._ledger.lock:
            if known := self._ledger.one("SELECT study FROM instances WHERE uid = ?", uid):
                if known["study"] != study:  # to acknowledge it would lose a study
                    raise HospitalError("its UID is that of an instance of another study")
                return "duplicate"
            if own or self._ledger.one("SELECT 1 FROM results WHERE uid = ?", uid):
                return "own"
            file = self._place(study, uid)
            try:
                self._write(file, data)
                with self._ledger.transaction():
                    name, now = str(file.relative_to(self.folder)), time.time()
                    self._ledger.do("INSERT INTO instances VALUES(?, ?, ?, ?, ?)", uid, study, name, len(data), now)
                    return self._assign(uid, study, now)
            except (OSError, sqlite3.Error, DataError) as error:
                file.unlink(missing_ok=True)
                raise refusal(error) from error

    def _assign(self, uid: str, study: str, now: float) -> Outcome:
        """Put a new instance into the pass that it belongs to."""
        last = self._ledger.one("SELECT id, state, late FROM passes WHERE study = ? ORDER BY id DESC LIMIT 1", study)
        made = last and self._ledger.one("SELECT 1 FROM results WHERE pass = ?", last["id"])
        if last is None or (last["late"] == "again" and (made or last["state"] not in ("received", "ready", "failed"))):
            self._begin(study, now)
            return "kept"
        if last["state"] in ("received", "ready") or (last["state"] == "failed" and not made):
            self._ledger.do("INSERT INTO members VALUES(?, ?)", last["id"], uid)
            if last["state"] != "failed":
                self._ledger.do("UPDATE passes SET state = 'received', received = ? WHERE id = ?", now, last["id"])
            return "kept"
        return "kept" if last["state"] == "running" and last["late"] is None else "late"  # `decide` will say

    def _begin(self, study: str, now: float) -> None:
        """A new pass over all instances of a study that are still here."""
        made = self._ledger.do("INSERT INTO passes(study, state, received, changed) VALUES(?, 'received', ?, ?)",
                        study, now, now)  # fmt: skip
        self._ledger.do("INSERT INTO members SELECT ?, uid FROM instances WHERE study = ? AND file IS NOT NULL",
                 made.lastrowid, study)  # fmt: skip

    def _write(self, file: Path, data: bytes) -> None:
        if shutil.disk_usage(self.folder).free - len(data) < self.reserve:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not file.parent.exists():
            file.parent.mkdir(mode=0o700)
            synced(file.parent.parent)
        with written_whole(file) as part:
            part.write_bytes(data)
        synced(file.parent)

    def _place(self, study: str, uid: str) -> Path:
        return self.folder / "studies" / _hash(study) / f"{_hash(uid)}.dcm"

    # Moving on -------------------------------------------------------------------------------

    def recover(self, attempts: int) -> None:
        """What a process that is gone has left: running passes are ready again, files without a row are deleted.

        attempts: passes that were begun so often are set aside; they may be what ends the process.
        """
        now = time.time()
        with self._ledger.transaction():
            self._ledger.do(
                "UPDATE passes SET state = 'failed', changed = ?, reason = 'the program ended while it ran, ' "
                "|| attempts || ' times' WHERE state = 'running' AND attempts >= ?", now, attempts)  # fmt: skip
            for row in self._ledger.all("SELECT id FROM passes WHERE state = 'running'"):
                self._run_again(row["id"])
            # Senders that were cut off need their time again, and a clock may have been put back.
            self._ledger.do("UPDATE passes SET received = ? WHERE state = 'received'", now)
            known = {row["file"] for row in self._ledger.all("SELECT file FROM instances WHERE file IS NOT NULL")}
            for file in (self.folder / "studies").glob("*/*"):
                if str(file.relative_to(self.folder)) not in known:
                    file.unlink()

    def settle(self, quiet: float) -> None:
        """Studies of which nothing came for so many seconds become ready."""
        now = time.time()
        with self._ledger.transaction():
            rows = self._ledger.all("SELECT id FROM passes WHERE state = 'received' AND received <= ?", now - quiet)
            for row in rows:
                uids = self._ledger.all("SELECT instance FROM members WHERE pass = ? ORDER BY instance", row["id"])
                digest = hashlib.sha256("\n".join(u["instance"] for u in uids).encode()).hexdigest()
                if self._ledger.one("SELECT 1 FROM passes WHERE digest = ? AND id != ?", digest, row["id"]):
                    self._move(row["id"], "done", "the same instances were handled before")
                else:
                    self._ledger.do("UPDATE passes SET digest = ? WHERE id = ?", digest, row["id"])
                    self._move(row["id"], "ready")

    def claim(self) -> Pass | None:
        """The pass that waits longest: to be run, and then it is running, or to be sent. None where none waits."""
        now = time.time()
        with self._ledger.transaction():
            waiting = "state IN ('ready', 'made', 'stored') AND not_before <= ?"
            row = self._ledger.one(f"SELECT * FROM passes WHERE {waiting} ORDER BY id LIMIT 1", now)
            if row is None:
                return None
            state = "running" if row["state"] == "ready" else row["state"]
            self._ledger.do("UPDATE passes SET state = ?, attempts = attempts + 1, changed = ? WHERE id = ?",
                     state, now, row["id"])  # fmt: skip
            return self._pass(self._ledger.one("SELECT * FROM passes WHERE id = ?", row["id"]))

    def decide(self, pass_id: int, late: Late) -> None:
        """What becomes of instances that come from now on, and of those that came since the pass was claimed."""
        with self._ledger.transaction():
            row = self._ledger.one("SELECT study FROM passes WHERE id = ?", pass_id)
            self._ledger.do("UPDATE passes SET late = ? WHERE id = ?", late, pass_id)
            waiting = "SELECT 1 FROM instances WHERE study = ? AND uid NOT IN (SELECT instance FROM members)"
            if late == "again" and self._ledger.one(waiting, row["study"]):
                self._begin(row["study"], time.time())

    def results_folder(self, pass_id: int) -> Path:
        """An empty folder for the results of a pass."""
        folder = self.folder / "results" / str(pass_id)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def made(self, pass_id: int, results: Sequence[Result]) -> None:
        """Record results whose files are whole; from here on they are sent and never made again."""
        for folder in {r.file.parent for r in results}:
            synced(folder)
        synced(self.folder / "results")
        with self._ledger.transaction():
            for r in results:
                self._ledger.do("INSERT INTO results VALUES(?, ?, ?, ?, NULL)", pass_id,
                         str(r.file.relative_to(self.folder)), r.destination, r.uid)  # fmt: skip
            self._ledger.do("UPDATE passes SET attempts = 1 WHERE id = ?", pass_id)  # of sending
            self._move(pass_id, "made")

    def unsent(self, pass_id: int) -> list[Result]:
        unsent = "SELECT * FROM results WHERE pass = ? AND stored IS NULL ORDER BY file, destination"
        rows = self._ledger.all(unsent, pass_id)
        return [Result(self.folder / r["file"], r["destination"], r["uid"]) for r in rows]

    def stored(self, pass_id: int, result: Result) -> None:
        """A destination has a result; with the last of them the pass is stored."""
        with self._ledger.transaction():
            name = str(result.file.relative_to(self.folder))
            self._ledger.do("UPDATE results SET stored = ? WHERE pass = ? AND file = ? AND destination = ?",
                            time.time(), pass_id, name, result.destination)  # fmt: skip
            if not self._ledger.one("SELECT 1 FROM results WHERE pass = ? AND stored IS NULL", pass_id):
                self._move(pass_id, "stored")

    def finish(self, pass_id: int, reason: str = "") -> None:
        with self._ledger.transaction():
            self._move(pass_id, "done", reason)

    def postpone(self, pass_id: int, reason: str, seconds: float) -> None:
        """Try again later, from where it stands."""
        with self._ledger.transaction():
            self._ledger.do("UPDATE passes SET not_before = ?, reason = ?, changed = ? WHERE id = ?",
                     time.time() + seconds, reason, time.time(), pass_id)  # fmt: skip
            self._run_again(pass_id)

    def give_back(self, pass_id: int) -> None:
        """Undo a claim: the pass was stopped and not tried."""
        with self._ledger.transaction():
            self._ledger.do("UPDATE passes SET attempts = attempts - 1 WHERE id = ?", pass_id)
            self._run_again(pass_id)

    def _run_again(self, pass_id: int) -> None:
        """A run that ended without results is ready again, or waits again with what came meanwhile."""
        if self._ledger.one("SELECT 1 FROM passes WHERE id = ? AND state = 'running'", pass_id):
            joined = self._join(pass_id)
            self._ledger.do("UPDATE passes SET state = ?, received = ? WHERE id = ?",
                     "received" if joined else "ready", time.time(), pass_id)  # fmt: skip

    def _join(self, pass_id: int) -> int:
        """Put instances of its study that no pass has into one; returns how many."""
        return self._ledger.do(
            "INSERT INTO members SELECT ?1, uid FROM instances WHERE file IS NOT NULL AND uid NOT IN "
            "(SELECT instance FROM members) AND study = (SELECT study FROM passes WHERE id = ?1)", pass_id
        ).rowcount  # fmt: skip

    def fail(self, pass_id: int, reason: str) -> None:
        """Set a pass aside, with all that it has, until `retry`."""
        with self._ledger.transaction():
            self._move(pass_id, "failed", reason)

    def retry(self, pass_ids: Sequence[int] | None = None) -> list[int]:
        """Failed passes, or those of them that are named, go on from where they failed. Returns which.

        Raises:
            HospitalError: one of those named has not failed.
        """
        with self._ledger.transaction():
            failed = [row["id"] for row in self._ledger.all("SELECT id FROM passes WHERE state = 'failed' ORDER BY id")]
            for wanted in pass_ids or ():
                if wanted not in failed:
                    raise HospitalError(f"pass {wanted} has not failed; those that have: {failed or 'none'}")
            chosen = failed if pass_ids is None else list(dict.fromkeys(pass_ids))
            for number in chosen:
                made = self._ledger.one("SELECT 1 FROM results WHERE pass = ?", number)
                self._ledger.do("UPDATE passes SET attempts = 0, not_before = 0, received = 0 WHERE id = ?", number)
                if not made:
                    self._join(number)
                self._move(number, "made" if made else "received")
            return chosen

    def clean(self, originals: float | None, results: float | None) -> None:
        """Delete files of studies that are done: received ones and results, each so many seconds after; None never.

        Their UIDs stay recorded, so what is sent again is still known.
        """
        for seconds, delete in ((originals, self._delete_originals), (results, self._delete_results)):
            if seconds is not None:
                with self._ledger.transaction():
                    delete(time.time() - seconds)

    def _delete_originals(self, before: float) -> None:
        rows = self._ledger.all(
            "SELECT uid, file FROM instances WHERE file IS NOT NULL AND study IN (SELECT study FROM passes) AND "
            "study NOT IN (SELECT study FROM passes WHERE state != 'done' OR changed > ?)", before)  # fmt: skip
        for row in rows:
            (self.folder / row["file"]).unlink(missing_ok=True)
            self._ledger.do("UPDATE instances SET file = NULL WHERE uid = ?", row["uid"])
        for folder in {(self.folder / row["file"]).parent for row in rows}:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()

    def _delete_results(self, before: float) -> None:
        for folder in (self.folder / "results").iterdir():
            done = "SELECT 1 FROM passes WHERE id = ? AND state = 'done' AND changed <= ?"
            if self._ledger.one(done, folder.name, before):
                shutil.rmtree(folder)

    # Telling ---------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Passes by state, and instances that came late and were not handled."""
        rows = self._ledger.all("SELECT state, COUNT(*) n FROM passes GROUP BY state")
        found = {row["state"]: row["n"] for row in rows}
        late = "SELECT COUNT(*) n FROM instances WHERE uid NOT IN (SELECT instance FROM members)"
        return {state: found.get(state, 0) for state in STATES} | {"late": self._ledger.one(late)["n"]}

    def passes(self, *states: str) -> list[Pass]:
        """Those in these states, or all, without their files."""
        marks = ", ".join("?" * len(states))
        where = f"WHERE state IN ({marks})" if states else ""
        rows = self._ledger.all(f"SELECT * FROM passes {where} ORDER BY id", *states)
        return [self._pass(row, files=False) for row in rows]

    def _pass(self, row: sqlite3.Row, files: bool = True) -> Pass:
        found = self._ledger.all("SELECT file FROM members JOIN instances ON instance = uid WHERE pass = ?", row["id"])
        there = tuple(self.folder / f["file"] for f in found if f["file"]) if files else ()
        return Pass(row["id"], row["study"], row["state"], row["attempts"], row["reason"], row["changed"], len(found),
                    there)  # fmt: skip

    def _move(self, pass_id: int, state: str, reason: str = "") -> None:
        told = "UPDATE passes SET state = ?, reason = ?, changed = ? WHERE id = ?"
        self._ledger.do(told, state, reason, time.time(), pass_id)


def study_hash(uid: str) -> str:
    """What a study is called where its UID must not stand: 12 hexadecimal digits."""
    return hashlib.sha256(uid.encode()).hexdigest()[:12]


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
