"""Captions from a real HTTP server that answers in the OpenAI form, well or badly."""

from __future__ import annotations

import base64
import json
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.quality.endpoint import EndpointCaptioner, EndpointError, Halted, Watch, data_url
from unimedvl.data.record import Message, Record

IMAGE = encoded(picture("cxr", 1))
RECORD = Record(
    main_task_type="understanding", sub_task_type="report", modality="cxr", dataset="invented", id="1",
    message=(Message(speaker="gpt", value="what the captioner must not see"),),
)  # fmt: skip


def said(*texts: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": t}} for t in texts]})


class Server(ThreadingHTTPServer):
    """Gives its answers in turn, (status, body, headers) each; a number is a wait in seconds before none."""

    daemon_threads = True

    def __init__(self, answers) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.headers = list(answers), [], []
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.server.headers.append(dict(self.headers))
        answer = self.server.answers.pop(0)
        if isinstance(answer, float):
            self.server.stop.wait(answer)
            return
        status, text, *headers = answer
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answers):
    server = Server(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def captioner(url: str, **more) -> EndpointCaptioner:
    return EndpointCaptioner(url, "medgemma", **{"pause_s": 0.0} | more)


def test_the_request_has_image_prompt_and_settings_and_not_the_records_text():
    with serving(said("one", "two", "three")) as server:
        captions = captioner(server.url, temperature=0.5, seed=7, key="s3cret").captions(IMAGE, RECORD, 3)
    assert captions == ["one", "two", "three"]
    (path, asked), *more = server.asked
    assert path == "/v1/chat/completions" and not more
    assert {k: asked[k] for k in ("model", "temperature", "n", "seed")} == {
        "model": "medgemma", "temperature": 0.5, "n": 3, "seed": 7
    }  # fmt: skip
    image, text = asked["messages"][0]["content"]
    assert image["image_url"]["url"] == "data:image/jpeg;base64," + base64.b64encode(IMAGE).decode()
    assert "must not see" not in json.dumps(asked) and text["type"] == "text"
    assert server.headers[0]["Authorization"] == "Bearer s3cret"


def test_a_server_that_gives_one_caption_at_a_time_is_asked_with_the_next_seeds():
    with serving(said("one"), said("two"), said("three", "four", "five")) as server:
        assert captioner(server.url).captions(IMAGE, RECORD, 4) == ["one", "two", "three", "four"]
    assert [(a["n"], a["seed"]) for _, a in server.asked] == [(4, 0), (3, 1), (2, 2)]
    with serving(said("one"), said("two")) as server:
        assert captioner(server.url, most_choices=1).captions(IMAGE, RECORD, 2) == ["one", "two"]
    assert [a["n"] for _, a in server.asked] == [1, 1]


def test_what_may_pass_is_tried_again_after_longer_and_longer_pauses():
    pauses = []
    with serving(
        (503, "busy"), (429, "slow down", ("Retry-After", "5")), (500, "oops"), said("one")
    ) as server:
        model = captioner(server.url, tries=4, pause_s=1.0, sleep=pauses.append)
        assert model.captions(IMAGE, RECORD, 1) == ["one"]
    assert pauses == [1.0, 5.0, 10.0]


def test_what_stays_wrong_is_an_error_with_the_servers_words():
    problem = "no answer in 2 tries: status 503: model is loading"
    with serving(*[(503, "model is loading")] * 2) as server, pytest.raises(DataError, match=problem):
        captioner(server.url, tries=2).captions(IMAGE, RECORD, 1)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 307])
def test_a_refusal_is_not_tried_again_and_the_key_stays_secret(status):
    with serving((status, "no such model", ("Location", "http://127.0.0.1:1/elsewhere"))) as server:
        with pytest.raises(DataError, match=f"status {status}: no such model") as raised:
            captioner(server.url, key="s3cret").captions(IMAGE, RECORD, 1)
        assert "s3cret" not in str(raised.value) + repr(captioner(server.url, key="s3cret"))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [("<html>", "no chat completion: <html>"), ('{"choices": []}', "expected texts in choices"),
     ('{"error": "x"}', "no chat completion"), ("[]", "no chat completion"),
     ('{"choices": [{"message": {"content": null}}]}', "expected texts in choices")],
)  # fmt: skip
def test_an_answer_in_another_form_is_an_error(body, problem):
    with serving((200, body)) as server, pytest.raises(DataError, match=problem):
        captioner(server.url).captions(IMAGE, RECORD, 1)


def test_silence_and_a_closed_port_are_errors():
    with serving(30.0, 30.0) as server, pytest.raises(DataError, match="no answer in 2 tries: .*timed out"):
        captioner(server.url, timeout_s=0.1, tries=2).captions(IMAGE, RECORD, 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(
        DataError, match=f"127.0.0.1:{port}/v1/chat/completions: no answer in 3 tries: .*refused"
    ):
        captioner(f"http://127.0.0.1:{port}/v1").captions(IMAGE, RECORD, 1)


@pytest.mark.parametrize(
    "url", ["file:///etc/hosts", "127.0.0.1:8000", "http://", "http://host:99999/v1", "http://me:pw@host/v1"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(DataError, match="url"):
        captioner(url)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(DataError, match="tries is 0"):
        captioner("http://host/v1", tries=0)
    with pytest.raises(DataError, match="key has blanks") as raised:
        captioner("http://host/v1", key="s3cret\n")
    assert "s3cret" not in str(raised.value)


def test_a_data_url_says_what_the_image_is():
    assert data_url(encoded(picture("cxr", 1), "PNG")).startswith("data:image/png;base64,")
    with pytest.raises(DataError, match="no image that can be read"):
        data_url(b"no image")


def test_a_greeting_sees_that_address_model_and_key_are_right():
    with serving((200, '{"choices": [{"message": {"content": null}}]}'), (404, "no model m"), (200, "hello")) as server:
        captioner(server.url).greet()
        with pytest.raises(EndpointError, match="status 404: no model m"):
            captioner(server.url).greet()
        with pytest.raises(EndpointError, match="no chat completion: hello"):
            captioner(server.url).greet()
    assert server.asked[0][1]["max_tokens"] == 1


def test_a_key_that_the_server_repeats_is_not_passed_on():
    with serving((401, "wrong key s3cret"), (200, "no JSON but s3cret")) as server:
        for told in ("wrong key [*]{3}", "no JSON but [*]{3}"):
            with pytest.raises(EndpointError, match=told):
                captioner(server.url, key="s3cret").captions(IMAGE, RECORD, 1)


def test_failures_are_counted_from_the_last_answer_on():
    def fail() -> str:
        raise EndpointError("no answer")

    with serving((503, "away"), (200, '{"choices": []}')) as server:
        watch = Watch(captioner(server.url, tries=1), most=2)
        watch.settle()  # nothing has failed: nothing is asked
        for ask in (fail, lambda: "yes", fail):
            with suppress(EndpointError):
                watch.asked(ask)
        with pytest.raises(Halted, match="status 503: away; failed once; see that the server runs"):
            watch.settle()
        watch.settle()  # it is there, so the failure was the request's
        with pytest.raises(Halted, match="no answer; failed 2 times in a row"):
            watch.asked(fail)
