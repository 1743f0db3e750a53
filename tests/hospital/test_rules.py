"""Rules: which series they mean, which images a task is given, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from unimedvl.hospital.rules import Rules, Step, When, read_rules
from unimedvl.hospital.study import Instance, Series, Study, read_instance, read_studies, read_study
from unimedvl.recipes import RecipeError

REPORT = {"task": "report"}
PACS = {"pacs": {"dicomweb": "http://127.0.0.1:1/dicom-web"}}


def instance(number: int = 1, **attributes) -> Instance:
    header = Dataset()
    header.SOPInstanceUID, header.SOPClassUID = f"1.{number}", "1.2.840.10008.5.1.4.1.1.2"
    header.InstanceNumber, header.Rows, header.Modality = number, 8, "CT"
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return Instance(Path(f"{number}.dcm"), header)


def series(count: int = 1, uid: str = "2.1", **attributes) -> Series:
    return Series(uid, tuple(instance(n, **attributes) for n in range(1, count + 1)))


def numbers(step: Step, *given: Series) -> list[int]:
    return [p.instance.header.InstanceNumber for p in step.chosen(given)]


@pytest.mark.parametrize(
    ("when", "meant"),
    [
        ({}, True),
        ({"modality": "CT"}, True),
        ({"modality": ["MR", "ct"]}, True),
        ({"modality": "MR"}, False),
        ({"body_part": "chest"}, True),
        ({"body_part": "HEAD"}, False),
        ({"study_description": "^thorax"}, True),
        ({"study_description": "^routine"}, False),
        ({"series_description": "lung|mediastinum"}, True),
        ({"series_description": "bone"}, False),
        ({"sop_class": "CTImageStorage"}, True),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, True),
        ({"sop_class": ["MR Image Storage"]}, False),
        ({"min_images": 3, "max_images": 3}, True),
        ({"min_images": 4}, False),
        ({"max_images": 2}, False),
        ({"min_series_images": 4}, False),
        ({"max_series_images": 3}, True),
    ],
)  # fmt: skip
def test_a_rule_means_series_by_all_that_it_names(when: dict, meant: bool) -> None:
    study = Study("1", (series(3, BodyPartExamined="CHEST", StudyDescription="Thorax, routine",
                               SeriesDescription="Axial LUNG"),))  # fmt: skip
    assert bool(When(**when).series_of(study)) is meant


def test_an_anatomic_region_counts_as_body_part() -> None:
    region = Dataset()
    region.CodeMeaning = "Chest"
    assert When(body_part="CHEST").series_of(Study("1", (series(AnatomicRegionSequence=[region]),)))


def test_series_without_pictures_are_never_meant() -> None:
    reports = series(Modality="SR", Rows=None)
    masks = series(Modality="SEG")
    own = series(Manufacturer="UniMedVL")
    assert not When().series_of(Study("1", (reports, masks, own)))


def test_images_of_all_series_of_a_study_are_counted_together() -> None:
    study = Study("1", (series(2), series(1, "2.2"), series(5, "2.3", Modality="MR")))
    assert len(When(modality="CT", min_images=3, max_images=3).series_of(study)) == 2


@pytest.mark.parametrize(
    ("images", "chosen"),
    [("first", [1]), ("middle", [4]), ("all", [1, 2, 3, 4, 5, 6]), ("every 2", [1, 3, 5]), ("every 9", [1])],
)
def test_images_are_chosen_by_their_place_in_the_series(images: str, chosen: list[int]) -> None:
    assert numbers(Step(task="report", images=images), series(6)) == chosen


def test_so_many_at_the_most_are_spread_evenly() -> None:
    assert numbers(Step(task="report", images="all", at_most=3), series(9)) == [2, 5, 8]


def test_frames_are_images() -> None:
    (one,) = Step(task="report", images="middle").chosen([Series("2", (instance(NumberOfFrames=5),))])
    assert one.frame == 2


@pytest.mark.parametrize(
    ("views", "chosen"),
    [
        ([{"ViewPosition": "LL"}, {"ViewPosition": "PA"}], [2, 1]),
        ([{"ViewPosition": "AP"}, {"ViewPosition": "AP"}], [1]),
        ([{"SeriesDescription": "Thorax lat"}, {"SeriesDescription": "Thorax pa"}], [2, 1]),
        ([{}, {"ViewPosition": "LATERAL"}], [1, 2]),
        ([{}, {}], [1]),
    ],
)
def test_frontal_and_lateral_are_told_from_position_and_description(views: list[dict], chosen: list[int]) -> None:
    every = [Series(str(n), (instance(n, Modality="DX", **view),)) for n, view in enumerate(views, 1)]
    assert numbers(Step(task="report", images="frontal+lateral"), *every) == chosen


def test_slices_are_in_order_of_space_and_not_of_their_names(tmp_path: Path, chest) -> None:
    made = chest(1, ["", "", ""])
    for dataset, height, name in zip(made, (3.0, 1.0, 2.0), "abc", strict=True):
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, height], [1, 0, 0, 0, 1, 0]
        dataset.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    study = read_study(tmp_path.iterdir())
    assert [i.header.ImagePositionPatient[2] for i in study.series[0].instances] == [1, 2, 3]


def test_studies_of_a_folder_are_told_apart(tmp_path: Path, chest) -> None:
    for seed in (1, 2):
        chest(seed)[0].save_as(tmp_path / f"{seed}.dcm", enforce_file_format=True)
    assert len(read_studies(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="of one study, found 2 studies"):
        read_study(tmp_path.iterdir())
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(ValueError, match=r"text\.dcm: cannot be read as DICOM"):
        read_instance(tmp_path / "text.dcm")


@pytest.mark.parametrize(("match", "names"), [("first", ["chest"]), ("all", ["chest", "any"])])
def test_the_first_rule_or_all_are_for_a_study(match: str, names: list[str]) -> None:
    rules = Rules(match=match, destinations=PACS, rules=[
        {"name": "mr", "when": {"modality": "MR"}, "do": [REPORT]},
        {"name": "chest", "when": {"modality": "CT"}, "do": [REPORT]},
        {"name": "any", "do": [REPORT]},
    ])  # fmt: skip
    assert [m.rule.name for m in rules.matches(Study("1", (series(),)))] == names


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rules.0.do.0.task=guess", "task is 'guess'; it must be one of ask, report"),
        ("rules.0.do.0.task=ask", "ask needs questions"),
        ("rules.0.do.0.task=segment", "segment needs target"),
        ("rules.0.do.0.output=seg", "output seg is what segment makes, not report"),
        ("rules.0.do.0.output=sc", "output sc is not what report makes; it makes sr"),
        ("rules.0.do.0.images=every 0", "is none of first, middle, all"),
        ("rules.0.do.0.window=[40, -1]", "width above 0"),
        ("rules.0.do.0.target=lungs", "report takes no target"),
        ("rules.0.do=[]", "rules.0.do"),
        ("rules.0.when.sop_class=CTX", "'CTX' is no storage class"),
        ("rules.0.when.series_description='('", "is no regular expression"),
        ("rules.0.when.colour=red", "rules.0.when.colour: no such field; there are modality"),
        ("rules.0.send=archive", "sends to 'archive'; destinations are pacs"),
        ("rules.0.do.0.output=fhir", "none of its destinations is a fhir one"),
        ("destinations.pacs.ae=A@b:1", "give one of dicomweb, ae, fhir and folder, not dicomweb and ae"),
        ("destinations.pacs={ae: nowhere}", "write TITLE@host:port"),
        ("destinations.pacs.dicomweb=pacs", "write a URL such as"),
        ("destinations.pacs={fhir: 'htps://ehr/r4'}", "write a URL such as https://fhir.example.org/r4, or a folder"),
        ("destinations.pacs.user=me", "user and password_file belong together"),
        ("queue.quiet_seconds=-1", "queue.quiet_seconds"),
        ("listen.aet=A TITLE THAT IS TOO LONG", "listen.aet"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(tmp_path: Path, override: str, said: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("destinations: {pacs: {dicomweb: 'http://pacs/dicom-web'}}\n"
                    "rules: [{name: chest, when: {modality: DX}, do: [{task: report}]}]\n")  # fmt: skip
    assert read_rules(file).rules[0].do[0].made == ("sr",)
    with pytest.raises(RecipeError) as refused:
        read_rules(file, [override])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_late_pass_needs_the_originals() -> None:
    rule = {"name": "chest", "do": [REPORT], "late": "again"}
    with pytest.raises(ValueError, match="late: again, which needs queue.originals_hours"):
        Rules(rules=[rule], destinations=PACS, queue={"originals_hours": 0})


def test_results_go_where_they_are_taken() -> None:
    rules = Rules(rules=[{"name": "r", "do": [REPORT | {"output": ["sr", "fhir"]}]}],
                  destinations=PACS | {"ehr": {"fhir": "/tmp/fhir"}, "ae": {"ae": "A@[::1]:104"}})  # fmt: skip
    assert rules.where(rules.rules[0], "sr") == ("pacs", "ae")
    assert rules.where(rules.rules[0], "fhir") == ("ehr",)
    assert rules.destinations["ae"].address == ("A", "::1", 104)
