"""Every interleaved task that records are constructed for. A new task is a file, and an entry here."""

from __future__ import annotations

from unimedvl.data.error import DataError
from unimedvl.data.interleaved.counterfactual import COUNTERFACTUAL
from unimedvl.data.interleaved.segmentation import SEGMENTATION
from unimedvl.data.interleaved.staining import STAINING
from unimedvl.data.interleaved.super_resolution import SUPER_RESOLUTION
from unimedvl.data.interleaved.task import InterleavedTask
from unimedvl.data.interleaved.translation import TRANSLATION
from unimedvl.data.record import Record

TASKS: dict[str, InterleavedTask] = {
    task.name: task for task in (SUPER_RESOLUTION, TRANSLATION, STAINING, SEGMENTATION, COUNTERFACTUAL)
}


def task_of(record: Record) -> InterleavedTask:
    """The task that a record is of, by its kind and its wishes.

    Raises:
        DataError: there is none.
    """
    if record.main_task_type == "interleaved":
        for task in TASKS.values():
            if task.sub_task_type == record.sub_task_type and task.takes(record.attributes):
                return task
    told = ", ".join(f"{k} {record.attributes[k]!r}" for k in ("source", "target") if k in record.attributes)
    raise DataError(
        f"{record.dataset} {record.id}: no interleaved task takes {record.main_task_type} {record.sub_task_type}"
        f"{f' with {told}' if told else ''}; there are {', '.join(TASKS)}"
    )
