"""MIMIC-CXR in miniature: gzipped tables and JPEG tree of release 2.1.0, and the archive of reports beside it.

The reports have addenda, repeated and missing sections, removed words, and findings under no heading of theirs.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from unimedvl.data.miniatures.paint import picture, save

LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
          "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia",
          "Pneumothorax", "Support Devices")  # fmt: skip
_METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns",
    "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
# Subject, study, split, date, views, labels that are stated.
STUDIES = (
    ("10000901", "50000901", "train", "21800105", ("PA", "LATERAL"), {"Edema": "1.0", "Pneumonia": "-1.0"}),
    ("10000901", "50000902", "train", "21800301", ("AP",), {"Edema": "0.0"}),
    ("11000902", "50000903", "validate", "21770512", ("",), {"No Finding": "1.0"}),
    ("12000903", "50000904", "test", "21990630", ("PA",), {"Lung Opacity": "0.0"}),
)  # fmt: skip
# Lines of each report; every line begins with a blank, empty ones too.
_REPORTS = (
    ("WET READ VERSION", "IMPRESSION:  This is the addendum, not the report.", "_" * 78, "     FINAL REPORT",
     "EXAMINATION:  CHEST (PA AND LAT)", "", "INDICATION:  ___ year old woman with cough.", "", "FINDINGS: ", "",
     "The heart is mildly enlarged.  There is mild", "pulmonary edema: see below.", "", "IMPRESSION:  Pneumonia.", "",
     "IMPRESSION:  Mild edema, no pneumonia.  Discussed with ___ at 3:15.", "", "IMPRESSION: "),
    ("     FINAL REPORT", "CHEST, PORTABLE:", "COMPARISON:  ___.", "TECHNIQUE:  Single view.", "",
     "The edema has cleared.", "", "No effusion.", "", "IMPRESSION: "),
    ("     FINAL REPORT", "INDICATION:  Fever.", "COMPARISON:  The lungs are clear as in the study of ___.",
     "FINDINGS:  ___"),
    ("     FINAL REPORT", "FINDINGS AND IMPRESSION:  No acute process."),
)  # fmt: skip


def dicom(study: str, number: int) -> str:
    """An invented dicom_id: five groups of eight hexadecimal digits."""
    return "-".join((study, f"{number:08x}", "0badcafe", "0badcafe", "0badcafe"))


def write(root: Path) -> None:
    jpg, texts = root / "mimic-cxr-jpg/2.1.0", root / "mimic-cxr/2.1.0"
    write_images(jpg)
    metadata, split, labels = [], [], []
    for subject, study, part, date, views, stated in STUDIES:
        for number, view in enumerate(views):
            name = dicom(study, number)
            metadata.append((name, subject, study, "CHEST", view, "128", "128", date, "101500.25", "", "", ""))
            split.append((name, study, subject, part))
        labels.append((subject, study, *(stated.get(name, "") for name in LABELS)))
    _table(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", _METADATA, metadata)
    _table(jpg / "mimic-cxr-2.0.0-split.csv.gz", ("dicom_id", "study_id", "subject_id", "split"), split)
    for labeler in ("chexpert", "negbio"):
        _table(jpg / f"mimic-cxr-2.0.0-{labeler}.csv.gz", ("subject_id", "study_id", *LABELS), labels)
    names = ",".join(("study_id", *LABELS)).replace("Lung Opacity", "Airspace Opacity")
    cells = ",".join("1.0" if name == "Lung Opacity" else "0.0" if name == "Edema" else "" for name in LABELS)
    (jpg / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text(f"{names}\n{STUDIES[3][1]},{cells}\n")
    texts.mkdir(parents=True)
    with ZipFile(texts / "mimic-cxr-reports.zip", "w") as archive:
        for (subject, study, *_), report in zip(STUDIES, _REPORTS, strict=True):
            # Beside the folder of the study's images, not in it.
            name = f"files/p{subject[:2]}/p{subject}/s{study}.txt"
            archive.writestr(ZipInfo(name, (2020, 1, 1, 0, 0, 0)), " " + "\n ".join(report) + "\n")


def write_images(release: Path) -> None:
    """The images of all studies, in the tree of a release."""
    for subject, study, _, _, views, _ in STUDIES:
        for number in range(len(views)):
            file = release / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom(study, number)}.jpg"
            save(file, picture("cxr", int(study) % 100 + 200 + 10 * number))


def _table(file: Path, names: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *rows])
    file.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
