"""`/v1/images/generations` and `/v1/images/edits`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from unimedvl.inference.results import NOT_CLINICAL
from unimedvl.serving.asking import check_most, check_texts, guidance, sampled, seeds, submitted
from unimedvl.serving.bodies import Body, json_or_form, read_body
from unimedvl.serving.errors import as_api_error, wrong
from unimedvl.serving.openai.chat_examples import PICTURE
from unimedvl.serving.openai.image_forms import EditRequest, GenerationRequest, ImageRequest
from unimedvl.serving.openai.stream import ALIVE, data, streamed
from unimedvl.serving.openai.usage import count, image_usage
from unimedvl.serving.pictures import base64_of, encoded_preview, encoded_result, previews, to_be_shown
from unimedvl.serving.running import events, results
from unimedvl.serving.service import Served, Service
from unimedvl.serving.sources import Sources
from unimedvl.serving.trace import Trace

if TYPE_CHECKING:
    from unimedvl.imaging import Image
    from unimedvl.inference.engine import Ticket
    from unimedvl.inference.requests import Request as Asked
    from unimedvl.inference.results import ImageResult

router = APIRouter(prefix="/v1/images", tags=["images"])

_SMALL = {"size": "64x64", "num_inference_steps": 4, "seed": 7}
_GENERATE = {
    "one": {"prompt": "Chest X-ray with cardiomegaly", **_SMALL},
    "stream": {"prompt": "a small effusion", "modality": "cxr", "stream": True, "partial_images": 1, **_SMALL},
}
_EDIT = {"json": {"image": PICTURE, "prompt": "Add a pleural effusion.", "output_format": "webp", **_SMALL}}
_FILES = {"image": "What is edited; `image[]` for several.", "mask": "Not supported, and refused."}


@router.post("/generations", summary="Draw images from words",
             openapi_extra=json_or_form(GenerationRequest, _GENERATE, {}))  # fmt: skip
async def generations(request: Request, service: Served) -> Response:
    """Synthetic images. Each file says so, and where it came from: `unimedvl verify FILE` reads it."""
    body = await read_body(request, service.limits)
    asked = body.form(GenerationRequest)
    if body.uploads:
        raise wrong(body.uploads[0].field, "takes no file here; images are edited at /v1/images/edits")
    return await _drawn(asked, "generate", body, request, service)


@router.post("/edits", summary="Change an image as told in words",
             openapi_extra=json_or_form(EditRequest, _EDIT, _FILES))  # fmt: skip
async def edits(request: Request, service: Served) -> Response:
    """Synthetic images made from others. A mask is refused: say in words what is to change, and where."""
    body = await read_body(request, service.limits)
    for upload in body.uploads:
        if upload.field in ("mask", "markup"):
            raise wrong(upload.field, "not supported here; say in the prompt what is to change, and where")
        if upload.field not in ("image", "image[]"):
            raise wrong(upload.field, "not known here; images are files of the fields image or image[]")
    return await _drawn(body.form(EditRequest), "edit", body, request, service)


async def _drawn(asked: ImageRequest, task: str, body: Body, request: Request, service: Service) -> Response:
    service.check_model(asked.model)
    check_most("n", asked.n, service.limits.n)
    check_texts([asked.prompt], service)
    trace: Trace = request.state.trace
    given = seeds(asked.seed, asked.n or 1, by_chance=True)
    trace.task, trace.seed = task, given[0]
    images = await run_in_threadpool(_images, asked, body, Sources(service, trace, body.uploads))
    first = _asked(asked, task, images, given[0])
    try:
        scales = guidance(service, task, asked.guidance_scale, asked.image_guidance_scale)
    except Exception as error:
        raise as_api_error(error) from error
    options = {"steps": asked.num_inference_steps, "guidance": scales, "previews": previews(asked.partial_images)}
    asking = [(replace(first, seed=s), options | {"sampling": sampled(service, s)}) for s in given]
    tickets = await submitted(service, request, asking)
    replies = _Replies(asked, task, service, trace, tickets, given)
    if asked.stream:
        return streamed(replies.lines(request), trace)
    answered = await results(request, tickets)
    return Response(await run_in_threadpool(replies.whole, answered), media_type="application/json")


def _images(asked: ImageRequest, body: Body, sources: Sources) -> tuple[Image, ...]:
    """What is edited: files of the form and data URLs. Raises Refused, ApiError."""
    if not isinstance(asked, EditRequest):
        return ()
    files = [sources.upload(u) for u in body.uploads]
    urls = [sources.url(url, f"image[{n}]") for n, url in enumerate(asked.images)]
    if not files + urls:
        raise wrong("image", "is missing; give what is edited", code="missing_required_parameter")
    return (*files, *urls)


def _asked(asked: ImageRequest, task: str, images: tuple[Image, ...], seed: int) -> Asked:
    from unimedvl.inference.requests import request_for

    more = {"modality": asked.modality} if isinstance(asked, GenerationRequest) else {}
    size = asked.width_and_height
    try:
        return request_for(task, images, asked.prompt, think=asked.think, size=size, seed=seed, **more)
    except ValueError as error:
        raise as_api_error(error) from None


@dataclass(frozen=True)
class _Replies:
    """The images of one request on their way to its client."""

    asked: ImageRequest
    task: str
    service: Service
    trace: Trace
    tickets: Sequence[Ticket]
    seeds: Sequence[int]

    def whole(self, answered: Sequence[ImageResult]) -> str:
        """The reply where nothing is streamed. Encodes images: call it in a thread."""
        count(self.service, self.tickets)
        told = {"created": int(time.time()), "data": [self._told(n, r) for n, r in enumerate(answered)]}
        told |= self._form(answered[0]) | {"usage": image_usage(self.tickets), "notice": NOT_CLINICAL}
        return json.dumps(told, ensure_ascii=False)

    async def lines(self, request: Request) -> AsyncIterator[str]:
        async for happened in events(request, self.tickets):
            if happened is None:
                yield ALIVE
                continue
            number, event = happened
            self.trace.spoke()
            if event.kind == "result":
                yield await run_in_threadpool(self._completed, number, event.result)
            elif event.kind == "step" and to_be_shown(event.step):
                encoded = await run_in_threadpool(
                    encoded_preview, event.step, self.asked.format, self.asked.output_compression
                )
                # Steps are spread evenly, so the number of the one that is shown follows from its place.
                index = event.step.number * (self.asked.partial_images + 1) // event.step.total - 1
                told = {"b64_json": base64_of(encoded), "partial_image_index": index, "index": number}
                rows, columns = self.tickets[number].asked.shape
                stride = self.service.engine.model.model.config.latent_stride
                yield self._event("partial_image", told | self._sized(columns * stride, rows * stride))
        count(self.service, self.tickets)

    def _completed(self, number: int, result: ImageResult) -> str:
        told = self._told(number, result) | {"index": number, "usage": image_usage([self.tickets[number]])}
        return self._event("completed", told | self._form(result) | {"notice": NOT_CLINICAL})

    def _event(self, kind: str, told: dict[str, Any]) -> str:
        name = f"{'image_edit' if self.task == 'edit' else 'image_generation'}.{kind}"
        return data({"type": name, "created_at": int(time.time()), **told}, name)

    def _told(self, number: int, result: ImageResult) -> dict[str, Any]:
        """One image, and what was said with it."""
        encoded = encoded_result(result, self.asked.format, self.asked.output_compression)
        self.trace.gave(encoded)
        told = {"b64_json": base64_of(encoded), "seed": self.seeds[number]}
        return told | ({"text": result.text} if result.text else {})

    def _form(self, result: ImageResult) -> dict[str, Any]:
        height, width = result.array.shape[:2]
        return self._sized(width, height)

    def _sized(self, width: int, height: int) -> dict[str, Any]:
        return {
            "size": f"{width}x{height}", "quality": "auto", "background": "opaque", "output_format": self.asked.format,
        }  # fmt: skip
