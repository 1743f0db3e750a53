"""The OpenAPI document: what FastAPI knows of the routes, and the forms of bodies that the routes read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from unimedvl.serving.openai.forms import ChatRequest
from unimedvl.serving.openai.image_forms import EditRequest, GenerationRequest
from unimedvl.serving.task_form import TaskRequest

_FORMS = (ChatRequest, GenerationRequest, EditRequest, TaskRequest)
_PLACE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, forms = models_json_schema([(form, "validation") for form in _FORMS], ref_template=_PLACE)
        parts = made.setdefault("components", {})
        parts.setdefault("schemas", {}).update(forms["$defs"] | {"Error": _ERROR})
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        if app.state.service.keys is not None:
            made["security"] = [{"key": []}]
        for path in made["paths"].values():
            for operation in path.values():
                told = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
                operation["responses"]["4XX"] = operation["responses"]["5XX"] = {
                    "description": "An error, in OpenAI's form.", "content": told,
                }  # fmt: skip
                operation["responses"].pop("422", None)  # FastAPI's own form of errors, which is not used
        app.openapi_schema = made
    return app.openapi_schema
