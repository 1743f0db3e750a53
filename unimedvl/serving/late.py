"""An engine that is loaded behind a server that already answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unimedvl.inference.engine import Engine, EngineState, Ticket
    from unimedvl.inference.unimedvl import UniMedVL

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """The model is not loaded yet, or could not be loaded."""


class LateEngine:
    """An engine with the methods of one, which raise `NotReady` until it is loaded."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        """load: called once, in a thread of its own, by `start`."""
        self._load, self._engine = load, None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.failure: Exception | None = None

    @classmethod
    def loaded(cls, engine: Engine) -> LateEngine:
        """Over an engine that is there, which its owner closes."""
        late = cls(lambda: engine)
        late._engine = engine
        late._done.set()
        return late

    def start(self) -> None:
        """Begin to load; returns at once. Again, it does nothing."""
        if self._thread is None and not self._done.is_set():
            self._thread = threading.Thread(target=self._work, name="load", daemon=True)
            self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until loading has ended, well or not; returns whether it has."""
        return self._done.wait(timeout)

    @property
    def ready(self) -> bool:
        return self._engine is not None and not self._closed

    @property
    def broken(self) -> str:
        """Why an engine that was loaded works no more; empty as long as it does."""
        return "" if self._engine is None else self._engine.state().failure

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        if self._engine is None:
            return False
        state = self._engine.state()
        return state.running and state.waiting + state.reading + state.speaking + state.drawing > 0

    @property
    def engine(self) -> Engine:
        """Raises NotReady."""
        if self._engine is None:
            raise NotReady("the model could not be loaded" if self.failure else "the model is still being loaded")
        return self._engine

    @property
    def model(self) -> UniMedVL:
        return self.engine.model

    def submit(self, *arguments: Any, **options: Any) -> Ticket:
        return self.engine.submit(*arguments, **options)

    def state(self) -> EngineState:
        return self.engine.state()

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Close the engine that was loaded here, now or when it is there; one that was given is its owner's."""
        self._closed = True
        if self._thread is not None and self._engine is not None:
            self._engine.close(finish=finish, timeout=timeout)

    def _work(self) -> None:
        try:
            engine = self._load()
            if self._closed:
                engine.close(finish=False)
            else:
                self._engine = engine
        except Exception as error:  # noqa: BLE001 - told to whoever asks
            self.failure = error
            logger.error("the model could not be loaded: %s", error)
        finally:
            self._done.set()
