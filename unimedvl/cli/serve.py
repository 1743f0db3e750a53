"""`unimedvl serve`: the model behind an HTTP API."""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from unimedvl.cli.command import Failure, command
from unimedvl.cli.options import OutputOptions
from unimedvl.cli.terminal import Terminal


def register(app: typer.Typer) -> None:
    command(app)(serve)


def serve(
    output: OutputOptions,
    arguments: Annotated[
        list[str] | None,
        Argument(
            metavar="[MODEL] [KEY=VALUE]...",
            help="Folder or hub id of a checkpoint, nano where left out; and settings, such as deadline=60.",
        ),
    ] = None,
    host: Annotated[str | None, Option(help="Address to listen at; 127.0.0.1 where left out.")] = None,
    port: Annotated[int | None, Option(help="Port to listen at; 8000 where left out, 0 for a free one.")] = None,
    keys: Annotated[
        Path | None, Option(help="File of API keys (unimedvl keys add); needed where others reach the address.")
    ] = None,
    config: Annotated[Path | None, Option(help="YAML file of settings.")] = None,
    replicas: Annotated[int | None, Option(help="Processes behind the port, each with an engine of its own.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:1 ...; a GPU where there is one.")] = None,
) -> None:
    """Serve the model: OpenAI's API, a route per task, and a page. Ctrl-C or SIGTERM ends it when what runs is done."""
    terminal = Terminal(output)
    _check_extra()
    from unimedvl.serving.logs import set_up
    from unimedvl.serving.run import serve as run
    from unimedvl.serving.settings import load_settings

    models = [a for a in (arguments or []) if "=" not in a]
    if len(models) > 1:
        raise ValueError(f"one model is served, not {len(models)}: {', '.join(models)}")
    told = {"model": models[0] if models else None, "host": host, "port": port, "keys": keys, "replicas": replicas,
            "device": device}  # fmt: skip
    flags = [f"{name}={_yaml(value)}" for name, value in told.items() if value is not None]
    settings = load_settings(config, [*(a for a in arguments or [] if "=" in a), *flags])
    set_up("error" if output.quiet else settings.log_level, settings.log_json)
    try:
        run(settings, terminal.line)
    finally:
        gc.freeze()  # the process ends: what PyTorch and Gradio hold need not be gone through once more


def _check_extra() -> None:
    """Told before anything starts, as bad input: this command is nothing without it."""
    try:
        for name in ("pydantic", "yaml", "fastapi", "uvicorn", "python_multipart", "prometheus_client"):
            import_module(name)
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is not installed; pip install 'unimedvl[serve]'") from error


def _yaml(value: object) -> str:
    """A value as YAML has it, whatever characters it holds."""
    import json

    return json.dumps(value if isinstance(value, int) else str(value))
