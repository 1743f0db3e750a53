"""A real server over the embedded model, in a thread, and its clients."""

from __future__ import annotations

import io
import logging
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from unimedvl import UniMedVL
from unimedvl.inference.engine import Engine
from unimedvl.serving.app import make_app
from unimedvl.serving.logs import set_up
from unimedvl.serving.run import Server, bound
from unimedvl.serving.service import Service
from unimedvl.serving.settings import ServerSettings


@dataclass
class Running:
    """A server that answers. http: a client of it. key: the API key that its clients send."""

    url: str
    http: httpx.Client
    server: Server
    service: Service
    key: str = "none"

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)


@contextmanager
def serving(engine: Engine | Callable[[], Engine], key: str = "none", **settings) -> Iterator[Running]:
    """Uvicorn on a free port, over an engine or a function that loads one."""
    chosen = ServerSettings(port=0, **{"page": False, **settings})
    app = make_app(engine, chosen)
    server, listening = Server(app, chosen), bound(chosen)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
            yield Running(url, http, server, app.state.service, key)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Running]]:
    """`serving`, for tests that want settings of their own."""
    return serving


@pytest.fixture(scope="session")
def nano() -> UniMedVL:
    return UniMedVL.load()


@pytest.fixture(scope="module")
def engine(nano: UniMedVL) -> Iterator[Engine]:
    with Engine(nano) as made:
        yield made


@pytest.fixture(scope="module")
def running(engine: Engine) -> Iterator[Running]:
    """A server with the usual settings."""
    with serving(engine) as one:
        yield one


@pytest.fixture(scope="module")
def client(running: Running) -> openai.OpenAI:
    """OpenAI's own client of it, that tries nothing again."""
    return running.client


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until something is so; returns whether it is."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., bool]:
    return until


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A simulated chest X-ray, [128, 128, 3] uint8."""
    from unimedvl.phantoms import simulate

    return simulate("cxr", 3, size=128).images["frontal"]


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Files of a certificate that is signed by its own key, and of that key, in PEM.

    names: host names and addresses. days: that it is valid from now on; below 0 it has ended. password: of the key.
    """

    def make(*names: str, days: float = 1, password: str | None = None) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        end = datetime.now(UTC) + timedelta(days=days)
        others = [x509.DNSName(n) if n[-1].isalpha() else x509.IPAddress(ip_address(n)) for n in names]
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(end - timedelta(days=400)).not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(others), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        folder = tmp_path_factory.mktemp("tls")
        (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        (folder / "key.pem").write_bytes(pem)
        return folder / "certificate.pem", folder / "key.pem"

    return make


@pytest.fixture
def log() -> Iterator[Callable[..., io.StringIO]]:
    """Set the log up into a buffer; all of logging is put back afterwards."""
    names = [None, "unimedvl", "uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings", "pydicom", "nibabel",
             "nibabel.global", "huggingface_hub", "httpx", "gradio", "pynetdicom"]  # fmt: skip
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, one.handlers, one.propagate, one.level) for one in loggers]
    hook, printing = threading.excepthook, traceback.print_exc

    def start(*arguments) -> io.StringIO:
        buffer = io.StringIO()
        set_up(*arguments, stream=buffer)
        return buffer

    with warnings.catch_warnings():
        yield start
    logging.captureWarnings(False)
    threading.excepthook, traceback.print_exc = hook, printing
    for one, handlers, propagate, level in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)
