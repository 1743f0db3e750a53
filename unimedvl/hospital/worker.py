"""The one that works through an inbox: runs what is ready, sends what is made, tries again what went wrong.

Lines of the log name a study by a hash, never by what is in it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import traceback
from dataclasses import replace
from datetime import datetime

from unimedvl.data.error import DataError
from unimedvl.data.whole import written_whole
from unimedvl.hospital.connection import Unreachable
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.inbox import Inbox, Pass, Result, study_hash
from unimedvl.hospital.process import Run, documents_of
from unimedvl.hospital.rules import Rule, Rules
from unimedvl.hospital.send import Send, sender
from unimedvl.hospital.study import read_study
from unimedvl.inference.image import Cancelled

log = logging.getLogger("unimedvl.hospital")

# Seconds between looks at an inbox in which nothing waits, and between deletions of what is old.
_LOOK, _CLEAN = 0.5, 60.0
# Libraries whose errors repeat what stands in a header.
_QUOTING = frozenset(("pydicom", "highdicom", "pydantic", "fhir"))
_READING = ("unimedvl.hospital.", "unimedvl.imaging.")


class Worker:
    """Works through an inbox that it owns, in the thread that calls `work`."""

    def __init__(self, inbox: Inbox, rules: Rules, run: Run) -> None:
        """Raises HospitalError for a destination whose credentials can't be read."""
        self.inbox, self.rules, self.run = inbox, rules, run
        self._send: dict[str, Send] = {name: sender(d) for name, d in rules.destinations.items()}
        self._cleaned = 0.0

    def work(self, stop: threading.Event, look: float = _LOOK) -> None:
        """Until `stop` is set; what a process before this one left is taken up first.

        While the database can't be written, such as on a full disk, it waits and says so.
        """
        recovered = False
        while not stop.is_set():
            try:
                if not recovered:
                    self.inbox.recover(self.rules.queue.attempts)
                    recovered = True
                if not self.once(stop):
                    stop.wait(look)
            except sqlite3.OperationalError as error:
                recovered = False  # what was running then is running no more
                log.error("the inbox can't be written (%s); trying again", error)
                stop.wait(10 * look)

    def once(self, stop: threading.Event | None = None) -> bool:
        """Take one pass a step further; False where none waits."""
        self.inbox.settle(self.rules.queue.quiet_seconds)
        if time.monotonic() - self._cleaned > _CLEAN or not self._cleaned:
            self._cleaned = time.monotonic()
            self.clean()
        claimed = self.inbox.claim()
        if claimed is None:
            return False
        name = f"study {study_hash(claimed.study)}, pass {claimed.id}"
        try:
            if claimed.state == "running":
                self._make(claimed, name)
            else:
                self._deliver(claimed, name)
        except Cancelled:
            self.inbox.give_back(claimed.id)
            log.info("%s: stopped; it goes on after the next start", name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other studies go on
            self._went_wrong(claimed, name, error)
        return True

    def clean(self) -> None:
        """Delete what was kept long enough."""
        queue = self.rules.queue
        hours = (queue.originals_hours, queue.results_hours)
        self.inbox.clean(*(None if h is None else h * 3600 for h in hours))

    def _make(self, claimed: Pass, name: str) -> None:
        began = time.monotonic()
        study = read_study(claimed.files)
        matches = self.rules.matches(study)
        # Where no rule is for it, what comes later may make one be.
        again = not matches or any(m.rule.late == "again" for m in matches)
        self.inbox.decide(claimed.id, "again" if again else "ignore")
        if not matches:
            self.inbox.finish(claimed.id, "no rule is for it")
            log.info("%s: no rule is for it", name)
            return
        log.info("%s: running %s on %d instances", name, ", ".join(m.rule.name for m in matches), claimed.instances)
        folder = self.inbox.results_folder(claimed.id)
        results: dict[tuple[str, str], Result] = {}
        for match in matches:
            for document in documents_of(match, self.run, datetime.now().astimezone(), self._links(match.rule)):
                file = folder / document.name
                with written_whole(file) as part:
                    part.write_bytes(document.data)
                for destination in self.rules.where(match.rule, document.kind):
                    results[document.name, destination] = Result(file, destination, document.uid)
        self.inbox.made(claimed.id, list(results.values()))
        log.info("%s: %d results in %.1f s", name, len(results), time.monotonic() - began)
        self._deliver(replace(claimed, state="made", attempts=1), name)

    def _deliver(self, claimed: Pass, name: str) -> None:
        """Send what was not sent; what fails at one destination does not keep the others from theirs."""
        failure: Exception | None = None
        for result in self.inbox.unsent(claimed.id):
            send = self._send.get(result.destination)
            try:
                if send is None:
                    raise HospitalError(f"the rules have no destination {result.destination!r} any more")
                send(result.file)
            except (ValueError, OSError) as error:
                failure = failure if isinstance(failure, Unreachable) else error
                continue
            self.inbox.stored(claimed.id, result)
            log.info("%s: stored at %s", name, result.destination)
        if failure is not None:
            self._went_wrong(claimed, name, failure)
            return
        self.inbox.finish(claimed.id)
        log.info("%s: done", name)

    def _went_wrong(self, claimed: Pass, name: str, error: Exception) -> None:
        """Try again later, or set aside what no waiting will put right."""
        reason = _told(error)
        final = isinstance(error, ValueError) and not isinstance(error, Unreachable | DataError)  # those: a full disk
        queue = self.rules.queue
        if final or claimed.attempts >= queue.attempts:
            self.inbox.fail(claimed.id, reason)
            log.error("%s: failed, set aside: %s", name, reason)
        else:
            wait = queue.wait(claimed.attempts)
            self.inbox.postpone(claimed.id, reason, wait)
            log.warning("%s: attempt %d failed, next in %.0f s: %s", name, claimed.attempts, wait, reason)

    def _links(self, rule: Rule) -> str | None:
        """The URL at which a rule's DICOM results will lie, for links in FHIR."""
        names = self.rules.where(rule, "sr")
        urls = (self.rules.destinations[n].dicomweb for n in names)
        return next(filter(None, urls), None)


def _told(error: Exception) -> str:
    """What went wrong, on one line. What reads headers may quote them: of its errors only the kind is told."""
    kind = type(error).__name__
    passed = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    quoting = {name.partition(".")[0] for name in passed} & _QUOTING
    converting = type(error) in (ValueError, TypeError) and passed[-1:] and passed[-1].startswith(_READING)
    if (quoting or converting) and not isinstance(error, HospitalError):
        return f"a value of a header can't be used ({kind} in {passed[-1]})"
    message = " ".join(str(error).split())
    return message if isinstance(error, ValueError) else f"{kind}: {message}"
