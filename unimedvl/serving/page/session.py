"""What the server keeps for one tab of a browser: its images, its conversation and its results, in memory alone.

A tab holds a secret of its own, which a reload keeps and closing the tab forgets. The server forgets with it: soon
after the tab was left, after a while without use, when it is cleared, and when the memory for all sessions is full.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unimedvl.hospital.context import StudyContext
    from unimedvl.inference.conversation import Turn
    from unimedvl.inference.results import ImageResult, TextResult
    from unimedvl.serving.page.running import Run
    from unimedvl.serving.page.upload import Item

# Seconds without use after which a session is forgotten, and after its tab was left, in which a reload comes back.
IDLE, LEFT = 1800, 60
MOST_RESULTS = 40
_TOKEN = re.compile(r"[0-9a-f]{32}")
_SWEEP = 10


class SessionLost(ValueError):
    """There is no such session, or it was forgotten."""

    status, code = 410, "session_lost"

    def __init__(self) -> None:
        super().__init__("this page was open too long without use, and its images were forgotten; reload it")


@dataclass(frozen=True)
class Made:
    """One result. words: what was asked, for people. given: the images it is of, as they were seen (PNG).

    png: of a drawing, with the mark. context: of its DICOM images; None where there are none. target: of a mask.
    problem: why there is no result, such as that it was cancelled.
    """

    task: str
    words: str
    at: datetime
    seconds: float
    given: tuple[bytes, ...] = ()
    result: TextResult | ImageResult | None = None
    png: bytes = b""
    context: StudyContext | None = None
    target: str | None = None
    problem: str = ""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def nbytes(self) -> int:
        return len(self.png) + sum(map(len, self.given))


@dataclass
class Session:
    """One tab. who: the name of the key's owner, who alone may see it; None where no keys are asked for.

    items: the images; shown: the number of the one that is shown. together: the model is given all of them.
    turns: of the conversation; attached: images that it holds; said: what the page shows of it.
    """

    who: str | None
    items: list[Item] = field(default_factory=list)
    shown: int = 0
    together: bool = False
    turns: list[Turn] = field(default_factory=list)
    attached: set[tuple] = field(default_factory=set)
    said: list[dict] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    run: Run | None = None
    used: float = 0.0
    left: float | None = None
    looking: threading.Lock = field(default_factory=threading.Lock)  # one change of the images at a time, in order

    @property
    def nbytes(self) -> int:
        said = sum(source.pixels.nbytes for turn in self.turns for source in turn.sources)
        return sum(item.nbytes for item in self.items) + sum(made.nbytes for made in self.made) + said

    @property
    def item(self) -> Item | None:
        """The image that is shown."""
        return self.items[self.shown] if self.items else None

    @property
    def given(self) -> list[Item]:
        """The images that the model is given."""
        return list(self.items) if self.together else [self.item] if self.items else []

    def keep(self, made: Made) -> None:
        self.made = [*self.made, made][-MOST_RESULTS:]

    def forget_conversation(self) -> None:
        self.turns, self.said, self.attached = [], [], set()

    def end(self) -> None:
        """Stop what runs and let go of everything."""
        if self.run is not None:
            self.run.cancel()
        self.items, self.made = [], []
        self.forget_conversation()


class Sessions:
    """All tabs. Of any threads. A thread forgets those that nobody uses, for as long as there are any."""

    def __init__(self, most_bytes: int, most: int = 200, clock: Callable[[], float] = time.monotonic) -> None:
        """most_bytes: of all sessions together. clock: seconds that only grow."""
        self._most_bytes, self._most, self._clock = most_bytes, most, clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[tuple[str | None, str], Session] = OrderedDict()
        self._sweeping = False

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, token: str, who: str | None) -> Session:
        """The session of a tab, made where there is none. Raises SessionLost: the token is none."""
        if not _TOKEN.fullmatch(token or ""):
            raise SessionLost
        with self._lock:
            session = self._sessions.setdefault((who, token), Session(who))
            self._use((who, token), session)
            self._start_sweeping()
        return session

    def get(self, token: str, who: str | None) -> Session:
        """The session of a tab. Raises SessionLost."""
        with self._lock:
            session = self._sessions.get((who, token or ""))
            if session is None:
                raise SessionLost
            self._use((who, token), session)
        return session

    def leave(self, token: str, who: str | None) -> None:
        """A tab was left; it is forgotten unless it comes back soon."""
        with self._lock:
            session = self._sessions.get((who, token))
            if session is not None:
                session.left = self._clock()

    def result(self, name: str, who: str | None) -> Made:
        """A result by its secret id. Raises SessionLost."""
        with self._lock:
            for (owner, _), session in self._sessions.items():
                for made in session.made if owner == who else ():
                    if secrets.compare_digest(made.id.encode(), name.encode()):
                        return made
        raise SessionLost

    def make_room(self) -> None:
        """Forget the sessions that were not used for longest, until all together fit."""
        with self._lock:
            while len(self._sessions) > 1 and (
                len(self._sessions) > self._most or sum(s.nbytes for s in self._sessions.values()) > self._most_bytes
            ):
                self._forget(next(iter(self._sessions)))

    def sweep(self) -> None:
        """Forget those that nobody uses any more."""
        with self._lock:
            now = self._clock()
            for key, session in list(self._sessions.items()):
                idle = now - session.used > IDLE and session.run is None
                if idle or (session.left is not None and now - session.left > LEFT):
                    self._forget(key)

    def close(self) -> None:
        with self._lock:
            for key in list(self._sessions):
                self._forget(key)

    def _use(self, key: tuple[str | None, str], session: Session) -> None:
        session.used, session.left = self._clock(), None
        self._sessions.move_to_end(key)

    def _forget(self, key: tuple[str | None, str]) -> None:
        self._sessions.pop(key).end()

    def _start_sweeping(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            threading.Thread(target=self._sweep_on, name="sessions", daemon=True).start()

    def _sweep_on(self) -> None:
        while True:
            time.sleep(_SWEEP)
            self.sweep()
            with self._lock:
                if not self._sessions:
                    self._sweeping = False
                    return
