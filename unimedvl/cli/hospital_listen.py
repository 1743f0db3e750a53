"""`unimedvl hospital listen`, and what looks after its folder: status, retry and check-rules."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import Failure, command
from unimedvl.cli.options import ModelOptions, OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.hospital.inbox import Inbox
    from unimedvl.hospital.listener import Listener
    from unimedvl.hospital.rules import Rules, Step
    from unimedvl.hospital.study import Study
    from unimedvl.hospital.worker import Worker

RulesFile = Annotated[Path, Option("--rules", metavar="FILE.yaml", help="Which task for which study.")]
Folder = Annotated[Path, Argument(help="The --folder of `unimedvl hospital listen`.", show_default=False)]


def register(group: typer.Typer) -> None:
    command(group)(listen)
    command(group)(status)
    command(group)(retry)
    command(group, "check-rules")(check_rules)


def listen(
    rules: RulesFile,
    folder: Annotated[Path, Option("--folder", help="Where studies wait; made where it is missing.")],
    model: ModelOptions,
    output: OutputOptions,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Over the rules, such as queue.quiet_seconds=5.")
    ] = None,
    port: Annotated[int | None, Option(min=0, max=65535, help="listen.port of the rules where left out.")] = None,
    aet: Annotated[str | None, Option(help="Our AE title; listen.aet of the rules where left out.")] = None,
    host: Annotated[str | None, Option(help="Address to listen on, such as 0.0.0.0 for all.")] = None,
) -> None:
    """Receive studies by C-STORE, run what the rules say, and send the results. SIGTERM ends it in good order."""
    terminal = Terminal(output)
    keep_quiet()
    from unimedvl.hospital.inbox import Inbox
    from unimedvl.hospital.listener import Listener
    from unimedvl.hospital.process import runner
    from unimedvl.hospital.rules import read_rules
    from unimedvl.hospital.worker import Worker

    given = {"listen.port": port, "listen.aet": aet, "listen.host": host}
    settings = read_rules(rules, [*(overrides or []), *(f"{k}={v}" for k, v in given.items() if v is not None)])
    _log(terminal, output.quiet)
    stop = threading.Event()
    with _until_signalled(stop), Inbox(folder, owner=True, reserve=settings.queue.reserve_mb * 2**20) as inbox:
        loaded = model.load(generation=_draws(settings), progress=terminal.progress)
        terminal.introduce(loaded)
        worker = Worker(inbox, settings, runner(loaded, stop.is_set))
        _serve(inbox, worker, Listener(inbox, settings.listen), stop)


def _serve(inbox: Inbox, worker: Worker, listener: Listener, stop: threading.Event) -> None:
    log = logging.getLogger("unimedvl.hospital")
    listener.start()
    settings = listener.settings
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.allowed and settings.tls is None:
        log.warning("any caller that reaches this port may send; name callers in listen.allowed, or use listen.tls")
    log.info("%s listens on %s:%d", settings.aet, settings.host, listener.port)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            worker.work(stop)
        except BaseException as error:  # noqa: BLE001 - raised again by who started this
            failures.append(error)
            stop.set()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    try:
        stop.wait()
    finally:
        stop.set()
        listener.stop()
        thread.join()
        log.info("stopped; %s", _told(inbox.counts()))
    if failures:
        raise failures[0]


def status(folder: Folder, output: OutputOptions) -> None:
    """Count studies by state, and list those that failed or are tried again, and why."""
    terminal = Terminal(output)
    from unimedvl.hospital.inbox import STATES, Inbox, study_hash

    with Inbox(folder) as inbox:
        counts = inbox.counts()
        rows = [p for p in inbox.passes(*(s for s in STATES if s != "done")) if p.reason]
    listed = [{"pass": p.id, "study": study_hash(p.study), "state": p.state, "attempts": p.attempts,
               "instances": p.instances, "since": datetime.fromtimestamp(p.changed).isoformat(" ", "seconds"),
               "reason": p.reason} for p in rows]  # fmt: skip
    if output.json:
        terminal.document({"counts": counts, "troubled": listed})
        return
    terminal.line(_told(counts))
    for row in listed:
        terminal.line("\t".join(map(str, row.values())))


def retry(
    folder: Folder,
    output: OutputOptions,
    passes: Annotated[list[int] | None, Argument(help="Numbers that `status` shows.", show_default=False)] = None,
    everything: Annotated[bool, Option("--all", help="All that failed.")] = False,
) -> None:
    """Let studies that were set aside go on, from where they failed. A listener may run meanwhile."""
    terminal = Terminal(output)
    from unimedvl.hospital.inbox import Inbox

    if bool(passes) == everything:
        raise Failure("give the numbers of passes that failed (see `unimedvl hospital status`), or --all")
    with Inbox(folder) as inbox:
        again = inbox.retry(None if everything else passes)
    terminal.document({"passes": again}) if output.json else terminal.line(f"{len(again)} to go on")


def check_rules(
    rules: Annotated[Path, Argument(metavar="RULES.yaml", help="Rules to be checked.", show_default=False)],
    output: OutputOptions,
    folder: Annotated[
        Path | None, Argument(metavar="[FOLDER]", help="Studies as DICOM files.", show_default=False)
    ] = None,
) -> None:
    """Check a file of rules, and say what would run on the studies of a folder. Nothing runs."""
    terminal = Terminal(output)
    keep_quiet()
    from unimedvl.hospital.inbox import study_hash
    from unimedvl.hospital.rules import read_rules
    from unimedvl.hospital.study import dicom_files, read_studies

    read = read_rules(rules)
    if folder is None:
        told = {"rules": [r.name for r in read.rules], "destinations": list(read.destinations)}
        terminal.document(told) if output.json else terminal.line(f"{rules}: {len(read.rules)} rules, all in order")
        return
    found = [{"study": study_hash(s.uid), "series": len(s.series), "runs": list(_runs(read, s))}
             for s in read_studies(dicom_files(folder))]  # fmt: skip
    if output.json:
        terminal.document(found)
        return
    for study in found:
        told = "" if study["runs"] else ": no rule is for it"
        terminal.line(f"study {study['study']}, {study['series']} series{told}")
        for one in study["runs"]:
            results = "".join(f", {kind} to {' and '.join(to)}" for kind, to in one["results"].items())
            terminal.line(f"  {one['rule']}: {one['task']} on {one['images']} images{results}")


def keep_quiet() -> None:
    """Libraries name values of headers in their warnings; those may be a patient's."""
    logging.captureWarnings(True)
    for name in ("py.warnings", "pydicom", "pynetdicom", "dicomweb_client", "highdicom"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False


def _runs(rules: Rules, study: Study) -> Iterator[dict]:
    for match in rules.matches(study):
        for step in match.rule.do:
            results = {kind: rules.where(match.rule, kind) for kind in step.made}
            yield {"rule": match.rule.name, "task": _words(step), "images": len(step.chosen(match.series)),
                   "results": results}  # fmt: skip


def _words(step: Step) -> str:
    said = [*step.questions, step.target, step.to, step.change, step.instruction, step.her2]
    return " ".join([step.task, *(repr(word) for word in said if word)])


def _draws(rules: Rules) -> bool:
    from unimedvl.tasks import TASKS

    return any(TASKS[step.task].draws for rule in rules.rules for step in rule.do)


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{state} {count}" for state, count in counts.items())


def _log(terminal: Terminal, quiet: bool) -> None:
    handler = logging.StreamHandler(terminal.errors.file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("unimedvl.hospital")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


@contextmanager
def _until_signalled(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; a second one ends the program as usual."""
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, frame: object) -> None:
        stop.set()
        for one, handler in before.items():
            signal.signal(one, handler)

    for one in before:
        signal.signal(one, ask)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
