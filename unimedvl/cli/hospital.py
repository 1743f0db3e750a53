"""`unimedvl hospital`: studies from DICOMweb or received, a task run on them, results stored back."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from unimedvl.cli import hospital_listen
from unimedvl.cli.command import Failure, command
from unimedvl.cli.options import ModelOptions, OutputOptions
from unimedvl.cli.terminal import Terminal

if TYPE_CHECKING:
    from unimedvl.hospital.dicomweb import DicomWeb
    from unimedvl.hospital.process import Document
    from unimedvl.hospital.rules import Match, Rule
    from unimedvl.hospital.study import Study

HELP = "DICOMweb, and a listener for studies. Results are drafts of a model. Not for clinical use."
PASSWORD = "UNIMEDVL_DICOMWEB_PASSWORD"


@dataclass(frozen=True)
class ServerOptions:
    user: Annotated[str, Option(help=f"Its password is read from {PASSWORD}.", rich_help_panel="Server")] = ""
    token_file: Annotated[
        Path | None, Option(metavar="FILE", help="Holds a bearer token.", rich_help_panel="Server")
    ] = None
    ca_file: Annotated[
        Path | None, Option(metavar="PEM", help="Who signed its certificate.", rich_help_panel="Server")
    ] = None
    timeout: Annotated[float, Option(min=0.1, help="Seconds without an answer.", rich_help_panel="Server")] = 60.0

    def open(self, url: str) -> DicomWeb:
        """Raises HospitalError."""
        from unimedvl.hospital.dicomweb import (
            DicomWeb,  # before `connection`, so that a missing extra is told
        )
        from unimedvl.hospital.connection import Access, read_secret  # isort: skip

        password = os.environ.get(PASSWORD, "")
        if self.user and not password:
            raise Failure(f"--user {self.user}: its password is missing; put it into the environment as {PASSWORD}")
        if self.user and self.token_file:
            raise Failure("give --user or --token-file, not both")
        access = Access(self.user, password, read_secret(self.token_file), self.ca_file, read_seconds=self.timeout)
        return DicomWeb(url, access)


@dataclass(frozen=True)
class TaskOptions:
    """What `run` does; the fields of a rule's step."""

    task: Annotated[str, Option(help="report, ask, segment, translate, counterfactual ...")] = "report"
    question: Annotated[list[str], Option(help="Of ask; may be given again.")] = field(default_factory=list)
    target: Annotated[str, Option(help="Of segment, such as lungs.")] = ""
    to: Annotated[str, Option(help="Of translate, such as flair.")] = ""
    change: Annotated[str, Option(help="Of counterfactual.")] = ""
    instruction: Annotated[str, Option(help="Of edit.")] = ""
    images: Annotated[str, Option(help="first, middle, all, 'every N' or frontal+lateral.")] = "middle"
    window: Annotated[str | None, Option(metavar="CENTER,WIDTH|NAME", help="Such as 40,400 or lung.")] = None
    output: Annotated[list[str], Option(help="sr, sr-3d, seg, sc or fhir; may be given again.")] = field(
        default_factory=list
    )

    def rule(self, seed: int) -> Rule:
        """A rule of one step, for any study."""
        from pydantic import ValidationError

        from unimedvl.hospital.rules import Rule, Step

        given = {k: v for k, v in asdict(self).items() if v and k != "question"} | {"seed": seed}
        try:
            step = Step.model_validate(given | ({"questions": self.question} if self.question else {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"--{name}: " for name in first["loc"][:1])
            raise Failure(f"{where}{first['msg'].removeprefix('Value error, ')}") from error
        return Rule(name=self.task, do=(step,))


Url = Annotated[str, Option("--dicomweb", metavar="URL", help="Such as http://127.0.0.1:8042/dicom-web.")]
StudyUid = Annotated[str, Option("--study", metavar="UID", help="StudyInstanceUID.")]
SeriesUid = Annotated[str | None, Option("--series", metavar="UID", help="Only this series.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=HELP, no_args_is_help=True)
    command(group)(query)
    command(group)(fetch)
    command(group)(run)
    hospital_listen.register(group)
    app.add_typer(group, name="hospital")


def query(
    dicomweb: Url,
    server: ServerOptions,
    output: OutputOptions,
    study: Annotated[str | None, Option("--study", metavar="UID", help="List its series instead.")] = None,
    patient_id: Annotated[str, Option(help="PatientID.")] = "",
    date: Annotated[str, Option(help="StudyDate, such as 20260131 or 20260101-20260131.")] = "",
    modality: Annotated[str, Option(help="That the study has, such as CT.")] = "",
    accession: Annotated[str, Option(help="AccessionNumber.")] = "",
    limit: Annotated[int, Option(min=1, help="Studies at most.")] = 100,
) -> None:
    """List studies of a DICOMweb server, or the series of one. What it prints names patients."""
    terminal = Terminal(output)
    hospital_listen.keep_quiet()
    opened = server.open(dicomweb)
    if study:
        rows = [asdict(s) for s in opened.series(study)]
    else:
        wanted = {"PatientID": patient_id, "StudyDate": date, "ModalitiesInStudy": modality,
                  "AccessionNumber": accession}  # fmt: skip
        rows = [asdict(s) for s in opened.studies(limit, **{k: v for k, v in wanted.items() if v})]
    if output.json:
        terminal.document(rows)
        return
    for row in rows:
        terminal.line("\t".join("/".join(v) if isinstance(v, tuple) else str(v) for v in row.values()))
    terminal.note(f"{len(rows)} {'series' if study else 'studies'}")


def fetch(
    dicomweb: Url,
    study: StudyUid,
    folder: Annotated[Path, Argument(help="Gets a file an instance.", show_default=False)],
    server: ServerOptions,
    output: OutputOptions,
    series: SeriesUid = None,
    modality: Annotated[str, Option(help="Only series of this modality, such as SR.")] = "",
) -> None:
    """Fetch a study, or some of its series, into a folder."""
    terminal = Terminal(output)
    hospital_listen.keep_quiet()
    opened = server.open(dicomweb)
    wanted = [series]
    if modality:
        found = [s.uid for s in opened.series(study) if s.modality == modality.upper()]
        wanted = [uid for uid in found if series in (None, uid)]
        if not wanted:
            raise Failure(f"the study has no such series of modality {modality.upper()}")
    files: list[Path] = []
    with _counting(terminal, "fetching") as told:
        for one in wanted:
            before = len(files)
            files += opened.fetch(study, folder, one, lambda done, before=before: told(before + done))
    terminal.document({"files": list(map(str, files))}) if output.json else terminal.line(folder)


def run(
    server: ServerOptions,
    what: TaskOptions,
    model: ModelOptions,
    output: OutputOptions,
    folder: Annotated[
        Path | None, Argument(help="A study as DICOM files, instead of --dicomweb and --study.", show_default=False)
    ] = None,
    dicomweb: Annotated[str, Option("--dicomweb", metavar="URL", help="Where the study is fetched.")] = "",
    study: Annotated[str, Option("--study", metavar="UID", help="StudyInstanceUID.")] = "",
    series: SeriesUid = None,
    store: Annotated[bool, Option("--store", help="Store DICOM results back at --dicomweb.")] = False,
    out: Annotated[Path | None, Option("--out", "-o", metavar="DIR", help="Write results there.")] = None,
) -> None:
    """Run a task on a study from a DICOMweb server or a folder, and store or write the results."""
    terminal = Terminal(output)
    hospital_listen.keep_quiet()
    if (folder is None) != bool(dicomweb and study):
        raise Failure("give a folder with a study, or both --dicomweb and --study")
    if store and not dicomweb:
        raise Failure("--store needs --dicomweb, where results are stored")
    if not store and out is None and not output.json:
        raise Failure("give --store, or --out DIR for the results, or both")
    opened, rule = server.open(dicomweb) if dicomweb else None, what.rule(model.seed)
    from tempfile import TemporaryDirectory

    from unimedvl.hospital.study import dicom_files, read_study

    with TemporaryDirectory(prefix="unimedvl-") as place:
        if opened is not None:
            with _counting(terminal, "fetching") as told:
                files = opened.fetch(study, Path(place), series, told)
        else:
            files = dicom_files(folder)
        documents = _documents(_match(rule, read_study(files), series), model, terminal, dicomweb if store else None)
    _leave(documents, out)
    if store and opened is not None:
        opened.store(d.dataset for d in documents if d.dataset is not None)
    _tell(documents, terminal, output.json, out)


def _match(rule: Rule, study: Study, series: str | None) -> Match:
    """The study's series with images, or the one named."""
    from unimedvl.hospital.rules import Match

    found = tuple(s for s in study.series if s.pictures and series in (None, s.uid))
    if not found:
        raise Failure("the study has no series with images" + (f" of UID {series}" if series else ""))
    return Match(rule, found)


def _documents(match: Match, model: ModelOptions, terminal: Terminal, dicomweb: str | None) -> list[Document]:
    from datetime import datetime

    from unimedvl.hospital.process import documents_of, runner
    from unimedvl.tasks import TASKS

    draws = any(TASKS[step.task].draws for step in match.rule.do)
    loaded = model.load(generation=draws, progress=terminal.progress)
    terminal.introduce(loaded)
    return documents_of(match, runner(loaded), datetime.now().astimezone(), dicomweb)


def _leave(documents: list[Document], out: Path | None) -> None:
    from unimedvl.data.whole import written_whole

    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{out}: can't be made ({error.strerror})") from error
    for document in documents:
        with written_whole(out / document.name) as part:
            part.write_bytes(document.data)


def _tell(documents: list[Document], terminal: Terminal, json: bool, out: Path | None) -> None:
    if json:
        keys = [{"kind": d.kind, "uid": d.uid, "file": str(out / d.name) if out else None} for d in documents]
        terminal.document(keys)
        return
    for document in documents:
        terminal.line(f"{document.kind}\t{out / document.name if out else document.uid}")


def _counting(terminal: Terminal, what: str):
    """A function that takes how many are done, and shows it where somebody looks."""
    from contextlib import contextmanager

    from rich.progress import Progress, TextColumn

    @contextmanager
    def shown():
        columns = (TextColumn("{task.description} {task.completed} instances"),)
        with Progress(*columns, console=terminal.errors, transient=True, disable=not terminal.progress) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done: bar.update(task, completed=done)

    return shown()
