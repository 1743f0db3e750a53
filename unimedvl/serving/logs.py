"""What a server writes to its log, and what it keeps out of it.

A line says when, which request, who, route, status and how long. Texts, images, query strings, file names and DICOM
attributes never get there: libraries put values of files and requests into their messages (pydicom into warnings, httpx
the URL, an exception what it could not parse), so below the level "debug" only this package's own messages are written
as they are, of others the name and the level, and of exceptions the type and the places in the code.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from typing import Any, Literal, TextIO

Level = Literal["debug", "info", "warning", "error"]
LEVELS = ("debug", "info", "warning", "error")

# Whose messages hold nothing of requests: that is so by how they are written, and tests look for it.
_OURS = ("unimedvl.serving", "unimedvl.hospital", "unimedvl.checkpoint", "uvicorn.error")
_WITHHELD = "(message withheld; log_level=debug shows it)"
_PRINT = traceback.print_exc
# Loggers that others give handlers of their own.
_CLAIMED = ("unimedvl", "uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings", "pydicom", "nibabel",
            "nibabel.global", "huggingface_hub", "httpx", "gradio", "pynetdicom")  # fmt: skip


def set_up(level: Level = "info", as_json: bool = False, stream: TextIO | None = None) -> None:
    """Have all of this process's log go to one place, private at every level but "debug".

    stream: standard error where left out. as_json: an object a line.
    """
    private = level != "debug"
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(private) if as_json else Lines(private))
    handler.addFilter(_wanted if private else lambda record: True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())  # not the attribute: loggers remember what they are enabled for
    for name in _CLAIMED:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    # Gradio prints exceptions to standard error, with what was typed into the page.
    traceback.print_exc = _printed if private else _PRINT
    if not private:
        logging.getLogger(__name__).warning("the log is at level debug: it may hold what requests say")


class Lines(logging.Formatter):
    """``2026-11-26T08:30:01.250Z INFO message``. private: without what others' messages and exceptions say."""

    converter = time.gmtime

    def __init__(self, private: bool = True) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self.private = private
        self.default_time_format, self.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        return super().format(self.kept(record))

    def kept(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record, or one with what may be told of it."""
        kept = logging.makeLogRecord(vars(record))
        kept.exc_text = None  # made by another handler's formatter
        if self.private and not _is_ours(record):
            kept.msg, kept.args = f"{record.name}: {_WITHHELD}", None
        kept.msg, kept.args = _one_line(kept.getMessage()), None
        return kept

    def formatException(self, ei: Any) -> str:
        return places(ei[1]) if self.private else super().formatException(ei)


class JsonLines(Lines):
    """One JSON object a line: time, level, logger, message, and the fields of a request where it is of one."""

    def format(self, record: logging.LogRecord) -> str:
        kept = self.kept(record)
        told = {"time": self.formatTime(kept), "level": kept.levelname.lower(), "logger": kept.name,
                "message": kept.getMessage()}  # fmt: skip
        told |= getattr(record, "request", None) or {}
        if kept.exc_info and kept.exc_info[1] is not None:
            told["failure"] = self.formatException(kept.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def request_line(
    logger: logging.Logger, *, request: str, who: str | None, method: str, route: str, status: int, seconds: float,
    failure: str = "",
) -> None:  # fmt: skip
    """Log that a request was answered. route: its pattern, such as ``/v1/tasks/{task}``, never the path that was asked.

    failure: the kind of what went wrong after the answer had begun.
    """
    told = {"request": request, "who": who or "-", "method": method, "route": route, "status": status,
            "ms": round(1000 * seconds)}  # fmt: skip
    if failure:
        told["failure"] = failure
    words = f"{request} {told['who']} {method} {route} {status} {told['ms']} ms {failure}"
    logger.info("%s", words.rstrip(), extra={"request": told})


def places(error: BaseException | None) -> str:
    """The type of an exception and where in the code it was raised, and of its causes, without what they say."""
    told: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)
        lines = "".join(f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        told.append(f"{type(error).__module__}.{type(error).__qualname__}{lines}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by ".join(told)


def _is_ours(record: logging.LogRecord) -> bool:
    return any(record.name == name or record.name.startswith(f"{name}.") for name in _OURS)


def _wanted(record: logging.LogRecord) -> bool:
    """Others' chatter is not written at all, nor what the server tells of a websocket: it names the whole URL."""
    if not _is_ours(record):
        return record.levelno >= logging.WARNING
    return not (record.name == "uvicorn.error" and "WebSocket" in str(record.msg))


def _one_line(text: str) -> str:
    """A message whose line breaks and control characters can't pass for lines of their own, but for indented ones."""
    text = text.replace("\r", " ").replace("\n  ", "\0")
    text = "".join(c if c.isprintable() or c == "\0" else " " for c in text)
    return text.replace("\0", "\n  ")


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is SystemExit:
        return
    name = failed.thread.name if failed.thread else "?"
    info = (failed.exc_type, failed.exc_value, failed.exc_traceback)
    logging.getLogger(__name__).error("a thread failed (%s)", name, exc_info=info)


def _printed(*_: Any, **__: Any) -> None:
    """In the place of `traceback.print_exc`."""
    logging.getLogger(__name__).error("something failed", exc_info=sys.exc_info())
