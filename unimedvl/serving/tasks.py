"""`/v1/tasks`: every task of the model, with files of every kind that it reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from unimedvl.inference.results import NOT_CLINICAL
from unimedvl.serving.asking import check_texts, guidance, sampled, submitted
from unimedvl.serving.bodies import Body, json_or_form, read_body
from unimedvl.serving.errors import ApiError, as_api_error
from unimedvl.serving.openai.chat_examples import PICTURE
from unimedvl.serving.openai.stream import ALIVE, data, streamed
from unimedvl.serving.openai.usage import chat_usage, count
from unimedvl.serving.pictures import TYPES, base64_of, encoded_preview, encoded_result, previews, to_be_shown
from unimedvl.serving.running import events, results
from unimedvl.serving.service import Served, Service
from unimedvl.serving.sources import Sources
from unimedvl.serving.task_form import TaskRequest, examples, told
from unimedvl.serving.trace import Trace
from unimedvl.serving.uploads import read_options
from unimedvl.tasks import TASKS, Task

if TYPE_CHECKING:
    from unimedvl.imaging import Image
    from unimedvl.inference.engine import Ticket
    from unimedvl.inference.job import Event
    from unimedvl.inference.results import ImageResult, TextResult

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

TaskName = Annotated[str, Path(openapi_examples={name: {"value": name} for name in TASKS})]
_FILES = {"image": "PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI; any field name will do, several images too."}
_BODY = json_or_form(TaskRequest, examples(PICTURE), _FILES)


@router.get("", summary="The tasks, and what each takes")
async def tasks(service: Served) -> dict:
    return {"object": "list", "data": [told(task) for task in TASKS.values()], "notice": NOT_CLINICAL}


@router.get("/{task}", summary="One task, and what it takes")
async def one_task(task: TaskName, service: Served) -> dict:
    return told(_task(task))


@router.post("/{task}", summary="Run a task", openapi_extra=_BODY)
async def run(task: TaskName, request: Request, service: Served) -> Response:
    """The result as JSON; the image alone where `Accept` asks for image/png, image/jpeg or image/webp; or, with
    `stream`, events called text, thought, step, preview and result."""
    what = _task(task)
    body = await read_body(request, service.limits)
    asked = body.form(TaskRequest)
    kind = _kind(asked, what, request)
    service.check_model(asked.model)
    trace: Trace = request.state.trace
    trace.task, trace.seed = what.name, asked.seed
    given = asked.own(what)
    check_texts([asked.text or "", *(v for v in given.values() if isinstance(v, str))], service)
    sources = Sources(service, trace, body.uploads)
    prepared = await run_in_threadpool(_prepared, asked, what, given, body, sources)
    (ticket,) = await submitted(service, request, [prepared])
    reply = _Reply(asked, what, service, trace, ticket, kind or "png")
    if asked.stream:
        return streamed(reply.lines(request), trace)
    (result,) = await results(request, [ticket])
    return await run_in_threadpool(reply.whole, result, kind is not None)


def _task(name: str) -> Task:
    if name not in TASKS:
        raise ApiError(404, f"there is no task {name[:50]!r}; there are {', '.join(TASKS)}", code="task_not_found")
    return TASKS[name]


def _kind(asked: TaskRequest, task: Task, request: Request) -> str | None:
    """The form of an image that is answered alone; None where JSON is. Raises ApiError."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    kinds = {media: kind for kind, media in TYPES.items()}
    wanted = next((kinds[a] for a in accepted if a in kinds), None)
    if wanted is None or {"application/json", "text/html", "text/event-stream"} & set(accepted):
        return None
    if not task.draws:
        raise ApiError(406, f"{task.name} makes no image; accept application/json", code="not_acceptable")
    if asked.output_format not in (None, wanted):
        raise ApiError(400, f"output_format: is not what Accept asks for, {TYPES[wanted]}", param="output_format")
    return wanted


def _prepared(
    asked: TaskRequest, task: Task, given: dict[str, Any], body: Body, sources: Sources
) -> tuple[Any, dict[str, Any]]:
    """What the engine is asked, and how. Raises ApiError, Refused."""
    from unimedvl.inference.requests import request_for

    options = read_options(asked.reading)
    images: list[Image] = [sources.upload(u, options) for u in body.uploads]
    for number, source in enumerate(asked.sources):
        url = source if ":" in source[:20] else f"data:;base64,{source}"
        images.append(sources.url(url, f"images[{number}]", options))
    sampling = sampled(
        sources.service, asked.seed, asked.stop, temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k,
        repetition_penalty=asked.repetition_penalty, max_tokens=asked.max_tokens,
    )  # fmt: skip
    more: dict[str, Any] = {"seed": asked.seed}
    how: dict[str, Any] = {"sampling": sampling}
    try:
        if task.draws:
            more["size"] = asked.width_and_height
            scales = guidance(sources.service, task.name, asked.guidance_scale, asked.image_guidance_scale)
            how |= {"steps": asked.num_inference_steps, "guidance": scales, "previews": previews(asked.previews)}
        return request_for(task.name, tuple(images), asked.text or "", **given, **more), how
    except TypeError as error:  # of `request_for`: fields that don't go together
        raise ApiError(400, str(error), code="invalid_value") from None
    except Exception as error:
        raise as_api_error(error) from error


@dataclass(frozen=True)
class _Reply:
    """The result of one task on its way to its client. kind: of its image."""

    asked: TaskRequest
    task: Task
    service: Service
    trace: Trace
    ticket: Ticket
    kind: str

    def whole(self, result: TextResult | ImageResult, alone: bool) -> Response:
        """The answer where nothing is streamed. Encodes images: call it in a thread."""
        count(self.service, [self.ticket])
        if alone:
            name = f'inline; filename="{self.task.name}.{self.kind}"'
            headers = {"x-seed": str(self.asked.seed), "Content-Disposition": name}
            return Response(self._image(result), media_type=TYPES[self.kind], headers=headers)
        return Response(json.dumps(self._told(result), ensure_ascii=False), media_type="application/json")

    async def lines(self, request: Request) -> AsyncIterator[str]:
        async for happened in events(request, [self.ticket]):
            if happened is None:
                yield ALIVE
                continue
            self.trace.spoke()
            for line in await run_in_threadpool(self._lines, happened[1]):
                yield line
        count(self.service, [self.ticket])

    def _lines(self, event: Event) -> list[str]:
        if event.kind == "result":
            return [data(self._told(event.result), "result")]
        if event.kind != "step":
            return [data({"text": event.text}, event.kind)]
        step = {"step": event.step.number, "steps": event.step.total}
        lines = [data(step, "step")]
        if to_be_shown(event.step):
            encoded = encoded_preview(event.step, self._format, self.asked.output_compression)
            lines.append(data(step | {"image": base64_of(encoded), "media_type": TYPES[self._format]}, "preview"))
        return lines

    def _told(self, result: TextResult | ImageResult) -> dict[str, Any]:
        self.trace.gave(result.text)
        told = {"object": "task.result", "task": self.task.name, **result.to_dict(), "seed": self.asked.seed}
        if hasattr(result, "array"):
            told |= {"image": base64_of(self._image(result)), "media_type": TYPES[self._format]}
        return told | {"usage": chat_usage([self.ticket])}

    @property
    def _format(self) -> str:
        return self.asked.output_format or self.kind

    def _image(self, result: ImageResult) -> bytes:
        encoded = encoded_result(result, self._format, self.asked.output_compression)
        self.trace.gave(encoded)
        return encoded
