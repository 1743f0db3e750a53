"""A language model that is asked in words alone, on any server with the OpenAI chat form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from unimedvl.data.quality.endpoint import EndpointCaptioner


class Chat(Protocol):
    """Answers a text. name: what it is, with its settings, as decisions and kept answers carry it."""

    @property
    def name(self) -> str: ...

    def say(self, text: str) -> str:
        """The answer to one text."""


@dataclass(frozen=True)
class EndpointChat(EndpointCaptioner):
    """A server's model, asked without an image. Everything else is as for `EndpointCaptioner`."""

    def say(self, text: str) -> str:
        """The model's answer. Raises EndpointError where the server can't be reached or doesn't answer as it should."""
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": self.temperature,
            "max_tokens": self.most_tokens,
            "n": 1,
            "seed": self.seed,
        }
        return self.ask(asked)

    def ask(self, body: dict) -> str:
        """The model's answer to a whole chat request, whatever it holds. Raises EndpointError as `say`."""
        return self._texts(self._post(json.dumps(body).encode()))[0]
