"""Any server with the OpenAI chat form as captioner: vLLM, SGLang, Ollama, `unimedvl serve`, or a paid one.

Images leave this machine for the server, within the request. Proxies are taken from the environment, as
`urllib` does; redirects are not followed, so that neither image nor key goes elsewhere than configured.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from PIL import Image

from unimedvl.data.error import DataError
from unimedvl.data.record import Record

DESCRIBE = "Describe this medical image in one paragraph. State only what is visible."
# Statuses that pass: too many requests, and what is wrong with the server and not with the request.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_ANSWER = 2**24
_LONGEST_PAUSE = 60.0


class EndpointError(DataError):
    """A request that the server did not answer as it should."""


class Halted(DataError):
    """No record's own fault: a server is taken for gone, or answers can't be kept; what is left had better wait."""


@dataclass(frozen=True)
class EndpointCaptioner:
    """A server's model as captioner.

    url: up to and with the version, such as http://127.0.0.1:8000/v1. model: as the server calls it.
    key: sent as bearer token where there is one; it is in no message and no decision.
    most_choices: captions asked for in one request; 1 for a server that refuses more.
    timeout_s: without any byte from the server. tries: of one request, with pauses of pause_s, twice that, ...
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    prompt: str = DESCRIBE
    temperature: float = 0.7
    seed: int = 0
    most_tokens: int = 200
    most_choices: int = 8
    timeout_s: float = 120.0
    tries: int = 3
    pause_s: float = 1.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:  # no such port, or an open bracket
            known = False
        if not known:
            raise DataError(f"url is {self.url!r}; expected one like http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None:
            raise DataError("url holds a user or password, which errors would show; give it as key")
        if not all("!" <= c <= "~" for c in self.key):
            raise DataError("key has blanks, line breaks or letters that no HTTP header can hold")
        for name in ("most_choices", "tries", "timeout_s"):
            if getattr(self, name) <= 0:
                raise DataError(f"{name} is {getattr(self, name)}; it must be over 0")

    @property
    def name(self) -> str:
        return f"{self.model} at {urlsplit(self.url).hostname}, temperature {self.temperature:g}, seed {self.seed}"

    def captions(self, image: bytes, record: Record, n: int) -> list[str]:
        """n captions. A server that gives fewer for a request is asked again, with the next seed.

        Raises:
            DataError: the image can't be read.
            EndpointError: the server can't be reached or doesn't answer as it should.
        """
        content = [
            {"type": "image_url", "image_url": {"url": data_url(image)}},
            {"type": "text", "text": self.prompt},
        ]
        captions: list[str] = []
        while len(captions) < n:
            asked = {
                "model": self.model,
                "messages": [{"role": "user", "content": content}],
                "temperature": self.temperature,
                "max_tokens": self.most_tokens,
                "n": min(n - len(captions), self.most_choices),
                "seed": self.seed + len(captions),
            }
            captions += self._texts(self._post(json.dumps(asked).encode()))
        return captions[:n]

    def greet(self) -> None:
        """Ask for one token, to see that address, model and key are right.

        Raises:
            EndpointError: the server can't be reached, or refuses.
        """
        asked = {"model": self.model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
        self._choices(self._post(json.dumps(asked).encode()))

    @property
    def _address(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _post(self, body: bytes) -> bytes:
        """The server's answer. What may pass is tried again; the rest raises at once."""
        problem, pause = "", self.pause_s
        for number in range(self.tries):
            if number:
                self.sleep(min(pause, _LONGEST_PAUSE))
                pause *= 2
            try:
                return self._send(body)
            except urllib.error.HTTPError as error:
                problem = f"status {error.code}: {self._keyless(_said(error))}"
                if error.code not in _PASSING:
                    raise EndpointError(f"{self._address}: {problem}") from error
                pause = max(pause, _seconds(error.headers.get("Retry-After")))
            # Refused, cut off, timed out, or no HTTP; a URLError is an OSError and carries the reason.
            except (OSError, http.client.HTTPException) as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
        raise EndpointError(f"{self._address}: no answer in {self.tries} tries: {problem}")

    def _keyless(self, said: str) -> str:
        """What the server said, without the key, which some repeat in what they say of it."""
        return said.replace(self.key, "***") if self.key else said

    def _send(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self._address, body, headers, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout_s) as answer:
            data = answer.read(_LONGEST_ANSWER + 1)
        if len(data) > _LONGEST_ANSWER:
            raise EndpointError(f"{self._address}: the answer has over {_LONGEST_ANSWER} bytes")
        return data

    def _texts(self, answer: bytes) -> list[str]:
        try:
            texts = [choice["message"]["content"] for choice in self._choices(answer)]
        except (LookupError, TypeError) as error:
            raise self._no_completion(answer) from error
        if not texts or not all(isinstance(text, str) for text in texts):
            raise EndpointError(f"{self._address}: expected texts in choices, found {self._shown(answer)}")
        return texts

    def _choices(self, answer: bytes) -> list:
        try:
            choices = json.loads(answer)["choices"]
        except (ValueError, LookupError, TypeError) as error:
            raise self._no_completion(answer) from error
        if not isinstance(choices, list):
            raise self._no_completion(answer)
        return choices

    def _no_completion(self, answer: bytes) -> EndpointError:
        return EndpointError(f"{self._address}: no chat completion: {self._shown(answer)}")

    def _shown(self, answer: bytes) -> str:
        return self._keyless(_short(answer))


@dataclass
class Watch:
    """Counts the requests to a server that failed one after another, and stops what goes on asking in vain.

    most: so many in a row, and the server is taken for gone. A failure between answers is the request's own.
    """

    endpoint: EndpointCaptioner
    most: int
    failed: int = field(default=0, init=False)

    def asked(self, ask: Callable[[], str]) -> str:
        """What `ask` gives.

        Raises:
            EndpointError: as `ask` raises it.
            Halted: it raised that for the last of `most` in a row.
        """
        try:
            said = ask()
        except EndpointError as error:
            self.failed += 1
            if self.failed >= self.most:
                raise self._lost(error) from error
            raise
        self.failed = 0
        return said

    def settle(self) -> None:
        """See, where the last request failed, that the server is there. Raises Halted where it is not."""
        if self.failed:
            try:
                self.endpoint.greet()
            except EndpointError as error:
                raise self._lost(error) from error

    def _lost(self, error: EndpointError) -> Halted:
        again = "see that the server runs and start again, which goes on from here"
        times = "once" if self.failed == 1 else f"{self.failed} times in a row"
        return Halted(f"{error}; failed {times}; {again}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def data_url(image: bytes) -> str:
    """An encoded image within a URL (RFC 2397). Raises DataError where Pillow doesn't know its format."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            kind = Image.MIME[opened.format]
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        raise DataError(f"<bytes>: no image that can be read: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def _said(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            return _short(error.read(2048)) or str(error.reason)
    except (OSError, http.client.HTTPException):
        return str(error.reason)


def _short(data: bytes) -> str:
    text = " ".join(data.decode(errors="replace").split())
    return text if len(text) <= 200 else text[:197] + "..."


def _seconds(retry_after: str | None) -> float:
    """How long a server asks to wait; a date is taken as no wish."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        return 0.0
