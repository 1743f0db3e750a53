"""From a captioned image to what a model is to draw it from.

An image gives a record with the prompt, and one with the prompt and the plan. The original caption stays beside them,
in the attribute `caption`; its record is not touched. A text that breaks a rule is not used: the original caption
then is the prompt, and the decision says why.
"""

from __future__ import annotations

from unimedvl.data.captions.original import original_of
from unimedvl.data.captions.rules import BY, PUBLISHED, Kind, Lengths, Original, faults
from unimedvl.data.captions.writer import Writer
from unimedvl.data.error import DataError
from unimedvl.data.record import Decision, Message, Record
from unimedvl.data.source import Sample, answer, question
from unimedvl.tasks import THINK_FIRST

TASK = "text_to_image"


def generation_samples(sample: Sample, writer: Writer, lengths: Lengths = PUBLISHED) -> list[Sample]:
    """The record with the prompt and, where its plan stands the rules, the one with the plan too.

    The answer is the plan, after a request that begins with `tasks.THINK_FIRST`; it is empty where there is none. Ids
    are the original's with `text_to_image` or `text_to_image_planned` after a slash; the attribute `original` has the
    original's. Each decision (`caption-description`, `caption-prompt`, `caption-plan`) names who wrote and what judged,
    keeps the record, and has the number of broken rules as score: 0 where the text is used.

    Raises:
        DataError: the record has no caption or not one image, an image can't be loaded, or the writer can't do it.
    """
    record = sample.record
    original = original_of(record)
    if len(sample.images) != 1:
        raise DataError(f"{record.dataset} {record.id}: {len(sample.images)} images for 1 picture of the record")
    image = sample.images[0]()
    description, described = _judged("description", writer.description(image, record), original, writer, lengths)
    prompt, prompted = _judged("prompt", writer.prompt(image, record, description), original, writer, lengths)
    prompt = prompt or original.text
    plan, planned = _judged("plan", writer.plan(image, record, prompt), original, writer, lengths)
    told = {"original": record.id, "caption": original.text} | ({"description": description} if description else {})
    decisions = (*record.decisions, described, prompted, planned)
    made = [_record(record, TASK, (question(prompt, 0), answer("")), told, decisions)]
    if plan:
        turns = question(f"{THINK_FIRST} {prompt}", 0), answer(plan)
        made.append(_record(record, f"{TASK}_planned", turns, told, decisions))
    return [Sample(r, sample.images) for r in made]


def _judged(kind: Kind, text: str, original: Original, writer: Writer, lengths: Lengths) -> tuple[str, Decision]:
    """The text, or "" where it breaks a rule, and what was decided of it."""
    text = text.strip().strip('"').strip()
    broken = faults(kind, text, original, lengths)
    reason = f"not used: {'; '.join(broken)}" if broken else ""
    decision = Decision(rule=f"caption-{kind}", kept=True, by=f"{BY}: {writer.name}", score=len(broken), reason=reason)
    return "" if broken else text, decision


def _record(
    record: Record, name: str, turns: tuple[Message, ...], told: dict[str, str], decisions: tuple[Decision, ...]
) -> Record:
    return Record(
        main_task_type="generation",
        sub_task_type=TASK,
        modality=record.modality,
        dataset=record.dataset,
        output_img=record.input_img,
        message=turns,
        id=f"{record.id}/{name}",
        licence=record.licence,
        patient=record.patient,
        study=record.study,
        split=record.split,
        attributes=record.attributes | told,
        decisions=decisions,
    )
