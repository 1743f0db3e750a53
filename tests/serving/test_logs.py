"""The log says what happened and to whom, and never what was said, sent or shown."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import traceback
import warnings

import pydicom.config
from pydicom.dataset import Dataset

from unimedvl.serving.logs import request_line

SECRET = "Zaphod^Beeblebrox"


def failed() -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"can't read {SECRET}") from error
    except ValueError:
        logging.getLogger("unimedvl.serving.app").exception("a request failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")


def test_a_request_is_one_line(log):
    out = log()
    request_line(logging.getLogger("unimedvl.serving.envelope"), request="req_1", who="ward-3", method="POST",
                 route="/v1/tasks/{task}", status=200, seconds=0.1234)  # fmt: skip
    said = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO req_1 ward-3 POST /v1/tasks/\{task\} 200 123 ms\n"
    assert re.fullmatch(said, out.getvalue())


def test_as_json_its_fields_stand_alone(log):
    out = log("info", True)
    request_line(logging.getLogger("unimedvl.serving.envelope"), request="req_1", who=None, method="POST",
                 route="/v1/x", status=499, seconds=1, failure="ClientGone")  # fmt: skip
    failed()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    told = {"request": "req_1", "who": "-", "status": 499, "ms": 1000, "failure": "ClientGone"}
    assert told.items() <= lines[0].items()
    assert lines[1]["failure"].startswith("builtins.ValueError\n") and SECRET not in out.getvalue()


def test_exceptions_are_told_by_their_type_and_place(log):
    out = log()
    failed()
    text = out.getvalue()
    assert SECRET not in text and text.count("builtins.ValueError") == 2 == text.count("caused by builtins.KeyError")
    assert "test_logs.py:" in text and " failed\n" in text


def test_what_libraries_say_is_withheld(log):
    out = log()
    logging.getLogger("httpx").info("GET https://x/?patient=%s", SECRET)
    logging.getLogger("some.library").warning("value %s is odd", SECRET)
    logging.getLogger("pydicom").error("Invalid value %s", SECRET)
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "1.2.3.4:5", f"/ws?name={SECRET}")
    warnings.warn(f"about {SECRET}", UserWarning, stacklevel=1)
    text = out.getvalue()
    assert SECRET not in text
    assert [line.split(" ", 1)[1].partition(":")[0] for line in text.splitlines()] == [
        "WARNING some.library", "ERROR pydicom", "WARNING py.warnings"]  # fmt: skip


def test_a_value_that_pydicom_warns_of_stays_out(log):
    out = log()
    assert pydicom.config.settings.writing_validation_mode == pydicom.config.WARN
    dataset = Dataset()
    dataset.StudyInstanceUID = f"1.2.{SECRET}"
    assert SECRET not in out.getvalue()


def test_an_exception_that_a_library_prints_says_no_more_than_others(log, capsys):
    out = log()
    try:
        raise ValueError(SECRET)
    except ValueError:
        traceback.print_exc()
    assert "builtins.ValueError" in out.getvalue() and SECRET not in out.getvalue() + capsys.readouterr().err


def test_a_thread_that_fails_says_no_more_than_others(log, capsys):
    out = log()

    def fail() -> None:
        raise RuntimeError(SECRET)

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    assert "a thread failed (worker)" in out.getvalue() and "RuntimeError" in out.getvalue()
    assert SECRET not in out.getvalue() + capsys.readouterr().err


def test_at_debug_everything_is_shown_and_that_is_said(log):
    out = log("debug")
    failed()
    logging.getLogger("httpx").debug("GET %s", SECRET)
    text = out.getvalue()
    assert "may hold what requests say" in text.splitlines()[0] and text.count(SECRET) >= 3


def test_nobody_writes_lines_of_their_own(log):
    out = log()
    logging.getLogger("unimedvl.serving.app").info("%s", "a\nb\x1b[31m\r2026 INFO forged\n2026 INFO forged")
    assert len(out.getvalue().splitlines()) == 1 and "\x1b" not in out.getvalue()


def test_handlers_that_others_set_before_are_gone(log):
    other = io.StringIO()
    logging.getLogger("unimedvl").addHandler(logging.StreamHandler(other))
    logging.getLogger("unimedvl").propagate = False
    out = log("warning")
    logging.getLogger("unimedvl.serving").warning("once")
    logging.getLogger("unimedvl.serving").info("not at this level")
    assert out.getvalue().count("once") == 1 and "not at" not in out.getvalue() and other.getvalue() == ""
