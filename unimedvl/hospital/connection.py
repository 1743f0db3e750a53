"""HTTP to a hospital's systems: credentials, time limits, repeats with growing waits, and errors of one line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.settings import Destination

Answer = TypeVar("Answer")

# Answers after which the same request may succeed later.
_LATER = {408, 425, 429, 500, 502, 503, 504, 507}
_REASONS = {
    400: "the request was not understood",
    401: "the credentials were refused, or none were given",
    403: "these credentials may not do that",
    404: "there is no such thing",
    405: "that is not offered",
    406: "it can't answer in the form asked for",
    409: "it did not accept what was sent",
    413: "what was sent is too large for it",
    415: "it does not take that kind of content",
}


class Unreachable(HospitalError):
    """A system that does not answer now, or says that it can't take more now; trying later may help."""


@dataclass(frozen=True)
class Access:
    """How a system is reached.

    user and password, or token (bearer): credentials. ca_file: PEM of who signed the server's certificate; the
    system's own list where None. connect_seconds, read_seconds: how long to wait for a connection, and for the next
    bytes. attempts: of each request, first_wait seconds apart at first, then twice as long each time.
    """

    user: str = ""
    password: str = ""
    token: str = ""
    ca_file: Path | None = None
    connect_seconds: float = 10
    read_seconds: float = 60
    attempts: int = 3
    first_wait: float = 0.5

    def __repr__(self) -> str:
        return f"Access(user={self.user!r}, ca_file={self.ca_file!r})"  # not the secrets

    @classmethod
    def of(cls, settings: Destination) -> Access:
        """Credentials of a destination, read from their files. Raises HospitalError."""
        return cls(settings.user, read_secret(settings.password_file), read_secret(settings.token_file),
                   settings.ca_file)  # fmt: skip


def read_secret(file: Path | None) -> str:
    """A password or a token: the file's text without spaces at its ends. Raises HospitalError."""
    if file is None:
        return ""
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HospitalError(f"{file}: the secret can't be read ({getattr(error, 'strerror', '') or error})") from error
    if not secret:
        raise HospitalError(f"{file}: the secret is empty")
    return secret


class _Bearer(AuthBase):
    """A token, as an object so that a `.netrc` file does not replace it."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class _Bounded(HTTPAdapter):
    """An adapter whose answers end with an error when they grow past a limit, unpacked bytes counted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__()

    def build_response(self, request, answer):
        response = super().build_response(request, answer)
        stream, limit = answer.stream, self.limit

        def counted(*args, **options):
            taken = 0
            for chunk in stream(*args, **options):
                taken += len(chunk)
                if taken > limit:
                    answer.close()
                    raise HospitalError(f"the answer is larger than {limit / 2**20:.0f} MiB, the most that is taken")
                yield chunk

        answer.stream = counted
        return response


def open_session(access: Access, answer_bytes: int = 2**31) -> requests.Session:
    """A session with credentials and trust; no answer may be larger than so many bytes. Raises HospitalError."""
    session = requests.Session()
    if access.token:
        session.auth = _Bearer(access.token)
    elif access.user:
        session.auth = HTTPBasicAuth(access.user.encode(), access.password.encode())
    if access.ca_file is not None:
        if not access.ca_file.is_file():
            raise HospitalError(f"{access.ca_file}: no such file; give the PEM of who signed the server's certificate")
        session.verify = str(access.ca_file)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Bounded(answer_bytes))
    return session


def attempted(ask: Callable[[], Answer], what: str, url: str, access: Access) -> Answer:
    """What `ask` gives, asked again with growing waits while the system is unreachable or busy.

    what: for the message, such as "query". Messages name the host and never what stands behind it in the URL.

    Raises:
        Unreachable: it stayed so. HospitalError: it refused; asking again would not help.
    """
    where = f"{what} at {_host(url)}"
    for attempt in range(access.attempts):
        try:
            return ask()
        except HospitalError:
            raise
        except (requests.RequestException, OSError) as error:
            failure = _told(error, where)
            last = attempt + 1 >= access.attempts
            if last or not isinstance(failure, Unreachable):
                raise failure from error
            time.sleep(access.first_wait * 2**attempt)
        except (ValueError, KeyError, IndexError) as error:  # a multipart body or JSON that is none
            problem = f"the answer makes no sense ({type(error).__name__}); is it the right URL?"
            raise HospitalError(f"{where}: {problem}") from error
    raise AssertionError("an attempt returns or raises")


def _told(error: Exception, where: str) -> HospitalError:
    if isinstance(error, requests.exceptions.SSLError):
        return HospitalError(f"{where}: its certificate is not trusted; give the PEM of who signed it as ca_file")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status in _LATER:
            return Unreachable(f"{where}: it can't answer now (HTTP {status})")
        why = _REASONS.get(status, error.response.reason or "no reason")
        return HospitalError(f"{where}: refused, {why} (HTTP {status})")
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return HospitalError(f"{where}: the answer is no JSON; is it the right URL?")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema,
                          requests.exceptions.InvalidSchema)):  # fmt: skip
        return HospitalError(f"{where}: no URL; write one such as http://pacs:8042/dicom-web")
    if isinstance(error, requests.exceptions.Timeout):
        return Unreachable(f"{where}: no answer in time")
    return Unreachable(f"{where}: can't be reached ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """The system's words for why a connection failed, from the innermost error that has any."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        wrapped = (getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__)
        inner = next((e for e in wrapped if isinstance(e, BaseException)), None)
    return type(error).__name__


def _host(url: str) -> str:
    """Host and port of a URL, without credentials that may stand in it."""
    return urlsplit(url).netloc.rpartition("@")[2] or url
