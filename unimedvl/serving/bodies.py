"""Bodies of requests: JSON, or a multipart form with files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from unimedvl.serving.body import check_json_soon
from unimedvl.serving.errors import ApiError, validation_error, wrong
from unimedvl.serving.limits import Limits

Model = TypeVar("Model", bound=BaseModel)

# The field of a multipart form that holds what is JSON otherwise.
REQUEST = "request"
_MOST_FIELDS = 100
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
# Larger JSON is parsed in a thread, so that other requests don't wait for it.
_AT_ONCE = 256 * 1024


@dataclass(frozen=True)
class Upload:
    """A file that came with a form. field: of the form. declared: the type that its sender says it is."""

    field: str
    name: str
    data: bytes
    declared: str


@dataclass(frozen=True)
class Body:
    """What came: the fields of a form or of JSON, and the files beside them."""

    fields: dict[str, Any]
    uploads: tuple[Upload, ...] = ()

    def form(self, model: type[Model]) -> Model:
        """The fields in their form. Raises ApiError (400) that names the field that is wrong."""
        return checked(model, self.fields)


def checked(model: type[Model], fields: Any) -> Model:
    """Raises ApiError (400) that names the first field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise validation_error(error.errors()) from None


async def read_body(request: Request, limits: Limits) -> Body:
    """The body of a request, JSON or a multipart form. A form's field `request` holds fields as JSON; others stand
    for themselves, as texts.

    Raises:
        ApiError: 400, it is neither, or of too many values; 413, too many files.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return Body(await _parsed(await request.body(), "the body"))
    form = await _multipart(request, limits)
    fields: dict[str, Any] = {}
    uploads = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            declared = value.content_type or ""
            uploads.append(Upload(name, value.filename or name, await value.read(), declared))
        elif name == REQUEST:
            await check_json_soon(data := value.encode(), limits)
            fields |= await _parsed(data, REQUEST)
        elif name in fields:
            raise wrong(name, "was given twice")
        else:
            fields[name] = value
    if len(uploads) > limits.images:
        raise ApiError(413, f"{len(uploads)} files came; at most {limits.images} are taken", code="too_many_images")
    return Body(fields, tuple(uploads))


async def _multipart(request: Request, limits: Limits) -> FormData:
    _, options = parse_options_header(request.headers["content-type"])
    # Others are decoded as well, and some of them (punycode) take minutes for a megabyte.
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise ApiError(400, "the form must be in UTF-8", code="invalid_form")
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=2 * limits.images, max_fields=_MOST_FIELDS,
        max_part_size=limits.body_bytes,
    )  # fmt: skip
    parser.spool_max_size = limits.body_bytes  # what is sent stays in memory: no image lies on the disk
    try:
        return await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        problem = error.message if isinstance(error, MultiPartException) else "no boundary"
        raise ApiError(400, f"the form can't be read: {problem[:100]}", code="invalid_form") from None


async def _parsed(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data) if len(data) < _AT_ONCE else await run_in_threadpool(json.loads, data)
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ApiError(400, f"{name} is not JSON{place}", code="invalid_json") from None
    if not isinstance(found, Mapping):
        raise ApiError(400, f"{name} must be a JSON object", code="invalid_json")
    return dict(found)


def json_or_form(model: type[BaseModel], examples: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """What a route's OpenAPI says of such a body.

    examples: name -> an example of the JSON. files: field -> what the file in it is.
    """
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    binary = {
        name: {"type": "array", "items": {"type": "string", "format": "binary"}, "description": told}
        for name, told in files.items()
    }
    fields = {"allOf": [schema], "description": "All fields, as JSON."}
    form = {"type": "object", "properties": {REQUEST: fields, **binary}}
    shown = {name: {"value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": shown}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}
