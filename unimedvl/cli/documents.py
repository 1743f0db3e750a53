"""The options that write a result as DICOM and FHIR beside what a command tells, and what they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from unimedvl.cli.command import Failure

if TYPE_CHECKING:
    from unimedvl.hospital.context import StudyContext
    from unimedvl.imaging import Image
    from unimedvl.inference.results import ImageResult, TextResult


@dataclass(frozen=True)
class DocumentOptions:
    dicom_out: Annotated[
        Path | None,
        Option(
            metavar="FILE.dcm",
            help="Also write the result as DICOM of the images' study: report, mask or derived image.",
            rich_help_panel="Hospital",
        ),
    ] = None
    fhir_out: Annotated[
        Path | None,
        Option(metavar="FILE.json", help="Also write the result as a bundle of FHIR R4.", rich_help_panel="Hospital"),
    ] = None

    def prepare(self, files: Sequence[Path], images: Sequence[Image], force: bool = False) -> Documents:
        """What writes the documents, with all checked that can be before the model is loaded.

        Raises Failure, or HospitalError for images that are no DICOM or of several studies.
        """
        wanted = [place for place in (self.dicom_out, self.fhir_out) if place is not None]
        for place in wanted:
            if not place.absolute().parent.is_dir():
                raise Failure(f"{place}: the folder {place.absolute().parent} does not exist; create it first")
            if place.is_dir() or (place.exists() and not force):
                raise Failure(f"{place}: exists; give another name")
        if not wanted:
            return Documents(self, None)
        if self.dicom_out == self.fhir_out:
            raise Failure(f"{self.dicom_out}: named by --dicom-out and by --fhir-out; give two names")
        if self.fhir_out is not None and not files:
            raise Failure("--fhir-out needs an image, whose study the resources tell of")
        import_module("highdicom")  # that it is missing is told now

        from unimedvl.hospital.context import StudyContext

        if self.fhir_out is not None:
            import_module("fhir.resources.R4B.bundle")
        return Documents(self, StudyContext.of_files(files, images) if files else None)


@dataclass(frozen=True)
class Documents:
    """Writes the documents of one result. context: of the images; None where there are none."""

    options: DocumentOptions
    context: StudyContext | None

    def write(self, result: TextResult | ImageResult, target: str | None = None) -> dict[str, str]:
        """Write what was asked for; returns the names of the files. target: what a mask outlines."""
        told: dict[str, str] = {}
        document, place = None, self.options.dicom_out
        if place is not None:
            document = self._document(result, target)
            told["dicom"] = _written(place, lambda part: document.save_as(part, enforce_file_format=True))
        if self.options.fhir_out is not None:
            from unimedvl.hospital.fhir import Made, fhir_bundle

            text = fhir_bundle([Made(result, document)], self.context).model_dump_json(indent=2) + "\n"
            told["fhir"] = _written(self.options.fhir_out, lambda part: part.write_text(text, encoding="utf-8"))
        return told

    def _document(self, result: TextResult | ImageResult, target: str | None):
        from unimedvl.inference.results import TextResult

        if isinstance(result, TextResult):
            from unimedvl.hospital.report import report_sr

            return report_sr(result, self.context)
        if target is not None:
            from unimedvl.hospital.mask import segmentation

            return segmentation(result, self.context, target)
        from unimedvl.hospital.derived import derived_image

        return derived_image(result, self.context)


def _written(place: Path, write: Callable[[Path], object]) -> str:
    """Write a file whole or not at all; returns its name."""
    from unimedvl.data.whole import written_whole

    with written_whole(place) as part:
        write(part)
    return str(place)
