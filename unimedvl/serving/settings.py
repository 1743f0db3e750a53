"""What a server is told: from a YAML file, the environment and the command line, in one model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from unimedvl.recipes import read_recipe
from unimedvl.serving.limits import Limits

ENVIRONMENT = "UNIMEDVL_SERVE_"
LONGEST_PORT = 65535


class Tls(BaseModel):
    """Files in PEM: the certificate with those that signed it, and its key without a password."""

    model_config = ConfigDict(extra="forbid")

    certificate: Path
    key: Path


class EngineSettings(BaseModel):
    """How much runs at once, as `unimedvl.inference.engine.EngineLimits`."""

    model_config = ConfigDict(extra="forbid")

    speaking: int = Field(32, ge=1, description="Requests that speak at once.")
    drawing: int = Field(4, ge=1, description="Requests that draw at once.")
    waiting: int = Field(128, ge=0, description="Requests that may wait for a place; more get 429.")
    prompt_tokens: int = Field(512, ge=1, description="Tokens of prompts that are taken in between two steps.")
    context_tokens: int = Field(65536, ge=1, description="Tokens that all contexts together may come to hold.")
    prefix_bytes: int = Field(512 * 2**20, ge=0, description="Memory for beginnings that requests share.")


class ServerSettings(BaseModel):
    """Everything that a server can be told."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str | None = Field(None, description="Folder or hub id of a checkpoint; the embedded nano where left out.")
    name: str | None = Field(None, description="What the model is called in the API; from `model` where left out.")
    device: str | None = Field(None, description="cpu, cuda, cuda:1 ...; a GPU where there is one.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Of the weights; what suits the device where left out."
    )
    adapters: Path | None = Field(None, description="Folder of adapters, merged into the model.")
    pack: bool | None = Field(
        None, description="Lay weights out for the CPU's products, where memory is free; not where replicas share them."
    )
    threads: int | None = Field(
        None, ge=1, description="Of PyTorch in each replica; its share of the cores, or one for a small model."
    )
    generation: bool = Field(True, description="Load what makes images, too.")
    host: str = Field("127.0.0.1", description="Address to listen at; 0.0.0.0 for all of this machine.")
    port: int = Field(8000, ge=0, le=LONGEST_PORT, description="Port to listen at; 0 takes a free one.")
    replicas: int = Field(1, ge=1, le=64, description="Processes, each with an engine of its own, behind the port.")
    keys: Path | None = Field(None, description="File of API keys, as `unimedvl keys add` writes it.")
    open: bool = Field(False, description="Answer without keys at an address that others reach.")
    tls: Tls | None = Field(None, description="Certificate and key; plain HTTP where left out.")
    cors: list[str] = Field(default_factory=list, description="Origins whose pages may ask; none.")
    audit: str | None = Field(None, description="Database of the audit, such as sqlite:///audit.db; none.")
    audit_required: bool = Field(False, description="Refuse what can't be recorded.")
    fetch: list[str] = Field(default_factory=list, description="Hosts from which images are fetched by URL; none.")
    limits: Limits = Limits()
    engine: EngineSettings = EngineSettings()
    deadline: float = Field(600, gt=0, description="Seconds that a request may take, waiting included.")
    grace: float = Field(30, ge=0, description="Seconds that running requests have to finish at a shutdown.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="At debug, the log may hold what requests say."
    )
    log_json: bool = Field(False, description="An object a line in the log.")
    page: bool = Field(True, description="Show the page at /.")

    @property
    def called(self) -> str:
        """The model's id in the API."""
        if self.name:
            return self.name
        if self.model is None:
            return "nano"
        return Path(self.model).resolve().name if Path(self.model).is_dir() else self.model


def load_settings(
    file: Path | None = None, overrides: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> ServerSettings:
    """The settings: what a file says, over it the environment, over it ``key=value`` overrides.

    environment: ``UNIMEDVL_SERVE_PORT=9000`` is ``port=9000``; two underscores stand for a dot, as in
        ``UNIMEDVL_SERVE_TLS__KEY``. Values are YAML.

    Raises:
        RecipeError: one line that names the field and what it accepts.
    """
    told = [
        f"{key.removeprefix(ENVIRONMENT).lower().replace('__', '.')}={value}"
        for key, value in sorted(environment.items())
        if key.startswith(ENVIRONMENT)
    ]
    return read_recipe(file, ServerSettings, [*told, *overrides], example="port=9000")
