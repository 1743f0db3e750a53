"""Models by name: baselines, servers and checkpoints."""

from __future__ import annotations

import io
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item
from unimedvl.evaluation.models import Settings, open_model


def png(value: int = 90, side: int = 32) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(out, format="PNG")
    return out.getvalue()


def test_an_unknown_baseline_and_a_server_without_a_model_are_one_clear_line():
    with pytest.raises(EvaluationError, match="no baseline called 'best'; there are random, yes, copy, oracle"):
        open_model("baseline:best", Settings())
    with pytest.raises(EvaluationError, match="which model"):
        open_model("http://127.0.0.1:1/v1", Settings())
    with pytest.raises(EvaluationError, match="takes no adapters"):
        open_model("baseline:yes", Settings(), "some/adapters")


def test_baselines_answer_as_they_are_called():
    mask = np.eye(8, dtype=bool)
    asked = Item("a", "ask", "choice", options=("x", "y", "z"), answers=("C",))
    drawn = Item("b", "segment", "mask", (png,), target=lambda: mask)
    oracle, yes = open_model("baseline:oracle", Settings()), open_model("baseline:yes", Settings())
    assert oracle.answer([asked])[0].text == "C" and yes.answer([asked])[0].text == "A"
    assert np.array_equal(oracle.answer([drawn])[0].image.mean(-1) > 127, mask)
    assert yes.answer([drawn])[0].image.min() == 255
    assert (open_model("baseline:copy", Settings()).answer([drawn])[0].image == 90).all()
    with pytest.raises(EvaluationError, match="no input"):
        open_model("baseline:copy", Settings()).answer([asked])


def test_random_answers_are_the_same_for_an_item_and_even_over_many():
    model = open_model("baseline:random", Settings())
    many = [Item(f"{n}", "ask", "choice", options=("x", "y", "z", "w"), answers=("A",)) for n in range(2000)]
    said = [p.text for p in model.answer(many)]
    assert said == [p.text for p in model.answer(many)]
    assert all(abs(said.count(letter) / 2000 - 0.25) < 0.04 for letter in "ABCD")


@pytest.fixture
def server():
    """A real server with the chat form, which answers with what it was asked, and how many images it got."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((body, self.headers.get("Authorization")))
            parts = body["messages"][0]["content"]
            text = f"{sum(p['type'] == 'image_url' for p in parts)} {parts[-1]['text']}"
            answer = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/v1", asked
    made.shutdown()
    made.server_close()


def test_a_server_is_asked_in_the_chat_form_with_its_key(server, monkeypatch):
    url, asked = server
    monkeypatch.setenv("UNIMEDVL_ENDPOINT_KEY", "sesame")
    model = open_model(f"{url}#big", Settings(max_tokens=7))
    questions = [Item(f"{n}", "ask", "open", (partial(png, n),), f"What {n}?") for n in range(5)]
    assert [p.text for p in model.answer(questions)] == [f"1 What {n}?" for n in range(5)]
    body, key = asked[0]
    assert (body["model"], body["max_tokens"], body["temperature"], key) == ("big", 7, 0.0, "Bearer sesame")
    assert "sesame" not in model.identity and "sesame" not in json.dumps(model.card)
    with pytest.raises(EvaluationError, match="text alone"):
        model.answer([Item("d", "segment", "mask", (png,), target=lambda: np.eye(2, dtype=bool))])


def test_the_embedded_model_answers_and_draws_and_says_what_it_is():
    model = open_model("nano", Settings(max_tokens=4, steps=2))
    said = model.answer([Item("a", "ask", "open", (png,), "What modality is this?")])[0]
    assert said.text and 0 < said.confidence <= 1 and said.drawn is None
    drawn = model.answer([Item("b", "segment", "mask", (png,), wishes=(("target", "heart"),))])[0]
    assert drawn.image.shape == (128, 128, 3)
    assert model.card["weights_sha256"] in model.identity and "simulated" in model.card["trained_on"]
