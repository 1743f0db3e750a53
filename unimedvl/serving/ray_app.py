"""The server as an application of Ray Serve, for many machines; `deploy/ray-serve.yaml` is a file that deploys it.

Ray's proxies take the place of uvicorn: they listen, speak TLS and share requests out. Behind them each replica is the
same application as that of `unimedvl serve`, over an engine of its own.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from unimedvl.serving.logs import set_up
from unimedvl.serving.run import ServingError, check, load_engine
from unimedvl.serving.settings import ServerSettings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

logger = logging.getLogger(__name__)

DEPLOYMENT = "UniMedVL"  # as deployment files call it
# Settings that Ray has its own way for, and what that is.
_RAYS = {
    "replicas": "num_replicas or autoscaling_config of the deployment",
    "port": "http_options.port",
    "tls": "http_options.ssl_certfile and ssl_keyfile",
}
# Where a file does not say: others reach Ray's proxies, and the page needs one process that remembers its tabs.
_HERE = {"host": "0.0.0.0", "page": False}
# Seconds beyond the grace that a replica has to close its engine, before Ray kills it.
_KILLED = 15


def app(args: dict) -> Application:
    """The application that a deployment file names by `import_path`.

    args: settings of the server, as in its YAML file, and `config`, such a file that lies on every machine.
        Environment variables are read as by `unimedvl serve`. host says who reaches the proxies, and so whether keys
        are needed: it is to be what http_options.host is.

    Raises:
        RecipeError: one line on a setting that is wrong. ServingError: one that Ray has its own for.
    """
    from ray import serve

    settings = settings_of(args)
    engine = settings.engine
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=DEPLOYMENT,
        # All that the engine takes: it makes batches of what is there, and refuses with 429 what is too much.
        max_ongoing_requests=engine.speaking + engine.drawing + engine.waiting,
        graceful_shutdown_timeout_s=settings.grace + _KILLED,
    )
    return deployment.bind(settings.model_dump(mode="json"))


def settings_of(args: dict) -> ServerSettings:
    """The settings of a deployment file's `args`. Raises RecipeError, ServingError."""
    given = dict(args)
    file = given.pop("config", None)
    read = load_settings(None if file is None else Path(file), [f"{k}={json.dumps(v)}" for k, v in given.items()])
    told = read.model_fields_set
    for name, instead in _RAYS.items():
        if name in told:
            raise ServingError(f"{name}: not a setting of the server under Ray Serve; give {instead}")
    return read.model_copy(update={name: value for name, value in _HERE.items() if name not in told})


class Replica:
    """One process of Ray's with an engine. Ray sends it requests once it is made, that is, the model loaded."""

    def __init__(self, told: dict) -> None:
        """told: the settings, as plain values.

        Raises:
            KeysError, AuditError, CheckpointError: it can't start; Ray tries again and tells of it.
        """
        settings = ServerSettings.model_validate(told)
        set_up(settings.log_level, settings.log_json)
        check(settings)
        # Not packed: replicas on one machine share the mapped file of the weights.
        self._settings = settings.model_copy(update={"pack": settings.pack or False})
        self._engine = load_engine(self._settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray, once, after `__init__`."""
        from unimedvl.serving.app import make_app

        made = make_app(self._engine, self._settings)
        threading.Thread(target=made.state.service.decoders.start, name="decoders", daemon=True).start()
        return made

    def check_health(self) -> None:
        """Asked by Ray again and again, which replaces a replica that raises.

        Raises:
            RuntimeError: the engine has failed.
        """
        if failure := self._engine.state().failure:
            raise RuntimeError(f"the engine has failed: {failure}")

    def __del__(self) -> None:
        """Called by Ray when what ran has ended, or had its time."""
        if engine := getattr(self, "_engine", None):
            engine.close(finish=False)
