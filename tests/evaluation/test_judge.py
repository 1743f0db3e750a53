"""A judge at a real local server decides what the rules can't, once for each question and answer."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unimedvl.evaluation.benchmark import Benchmark, Scored
from unimedvl.evaluation.benchmarks.accuracy import judged
from unimedvl.evaluation.benchmarks.slake import SLAKE
from unimedvl.evaluation.benchmarks.vqa_rad import VQA_RAD
from unimedvl.evaluation.error import EvaluationError
from unimedvl.evaluation.item import Item, Prediction
from unimedvl.evaluation.judge import judge_at, wording
from unimedvl.evaluation.protocol import Protocol

OPEN = Item("1", "ask", "open", question="Where is it?", answers=("left lung",), groups={"answer type": "open"})
CLOSED = Item("2", "ask", "closed", question="Is it there?", answers=("no",), groups={"answer type": "closed"})
CHOICE = Item("3", "ask", "choice", question="Which?", options=("Cyst", "Fat", "Edema"), answers=("B",))


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        said = self.server.say(asked["messages"][0]["content"])
        if isinstance(said, int):
            self.send_error(said)
            return
        body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serving(monkeypatch):
    """Serve what `say(words)` answers, a text or a status; the server has `url`, and what it was asked as `asked`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    @contextmanager
    def serve(say):
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.say, server.asked, server.url = say, [], f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serve


def test_a_judge_reads_what_the_rules_cannot(serving, tmp_path):
    def say(words: str) -> str:
        if "Where is it?" in words:
            return "The two mean the same.\nYes."
        return "no" if "Is it there?" in words else "(B)"

    with serving(say) as server:
        told = []
        judge = judge_at(server.url, "demo", tmp_path / "kept", progress=lambda done, of: told.append((done, of)))
        verdicts = judge.verdicts([(OPEN, "in the lung that is left"), (CLOSED, "hardly"), (CHOICE, "the second")])
        assert [v.right for v in verdicts] == [True, True, True] and not any(v.unread or v.error for v in verdicts)
        assert told == [(1, 3), (2, 3), (3, 3)]
        # Words alone are sent, at temperature 0.
        assert {(type(a["messages"][0]["content"]), a["temperature"], a["model"]) for a in server.asked} == {
            (str, 0.0, "demo")
        }


def test_the_same_question_and_answer_are_judged_once(serving, tmp_path):
    with serving(lambda words: "yes") as server:
        judge = judge_at(server.url, "demo", tmp_path)
        judge.verdicts([(OPEN, "left")] * 3 + [(OPEN, "right")])
        assert len(server.asked) == 2
        again = judge_at(server.url, "demo", tmp_path).verdicts([(OPEN, "right"), (OPEN, "left")])
        assert len(server.asked) == 2 and all(v.right for v in again)
        judge_at(server.url, "another", tmp_path).verdicts([(OPEN, "left")])
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("item", "reply"), [(OPEN, "perhaps"), (CLOSED, "unclear"), (CHOICE, "unclear"), (CHOICE, "D")]
)
def test_what_a_judge_cannot_tell_is_unread_and_wrong(serving, tmp_path, item, reply):
    with serving(lambda words: reply) as server:
        (verdict,) = judge_at(server.url, "demo", tmp_path).verdicts([(item, "so")])
    assert not verdict.right and verdict.unread and not verdict.error


def test_a_verdict_against_the_answer_is_read_and_wrong(serving, tmp_path):
    with serving(lambda words: "A" if "Which?" in words else "no" if "Where" in words else "yes") as server:
        verdicts = judge_at(server.url, "demo", tmp_path).verdicts([(OPEN, "so"), (CLOSED, "so"), (CHOICE, "so")])
    assert [(v.right, v.unread) for v in verdicts] == [(False, False)] * 3


def test_thinking_is_not_shown_to_the_judge():
    assert "secret" not in wording(OPEN, "<think>secret</think>left")
    assert "Right answer: left lung" in wording(OPEN, "x")
    assert "Right answer" not in wording(CHOICE, "x") and "B. Fat" in wording(CHOICE, "x")


def test_one_request_that_is_refused_counts_and_ends_nothing(serving, tmp_path):
    with serving(lambda words: 400 if "bad" in words else "yes") as server:
        verdicts = judge_at(server.url, "demo", tmp_path).verdicts([(OPEN, "good"), (OPEN, "bad"), (OPEN, "fine")])
    assert [v.right for v in verdicts] == [True, False, True]
    assert "status 400" in verdicts[1].error


def test_a_server_that_is_gone_ends_the_judging_with_one_line(serving, tmp_path):
    with serving(lambda words: "yes") as server:
        url = server.url
    judge = judge_at(url, "demo", tmp_path, failures=2, tries=1, pause_s=0.0)
    with pytest.raises(EvaluationError, match="judge demo at 127.0.0.1.*start again, which goes on from here"):
        judge.verdicts([(OPEN, str(number)) for number in range(6)])


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="judge: url is 'nowhere'"):
        judge_at("nowhere", "demo", tmp_path)


def test_a_judged_benchmark_asks_of_what_is_unsettled_alone_and_says_who_judged(serving, tmp_path):
    closed = Item("4", "ask", "closed", question="Is it there?", answers=("no",), groups={"answer type": "closed"})
    other = Item("5", "ask", "open", question="Where is it?", answers=("left lung",), groups={"answer type": "open"})
    silent = Item("6", "ask", "open", question="Where?", answers=("left",), groups={"answer type": "open"})
    pairs = [
        (OPEN, Prediction(text="Left lung.")),
        (CLOSED, Prediction(text="No.")),
        (closed, Prediction(text="hardly")),
        (other, Prediction(text="the lung of the left")),
        (silent, Prediction(error="out of memory")),
    ]
    plain = VQA_RAD.score(pairs).scores
    with serving(lambda words: "no" if "student to this" in words else "yes") as server:
        benchmark = judged(VQA_RAD, judge_at(server.url, "demo", tmp_path))
        scores = benchmark.score(pairs).scores
        assert len(server.asked) == 2
    assert (plain[0].value, plain[0].unparsed, plain[0].failed) == (0.4, 1, 1)
    assert (scores[0].value, scores[0].unparsed, scores[0].failed) == (0.8, 0, 1)
    by = {(score.metric, score.group): score for score in scores}
    assert by["exact match", "answer type: open"].value == pytest.approx(1 / 3)
    assert by["accuracy", "answer type: open"].value == pytest.approx(2 / 3)
    assert "demo at 127.0.0.1" in scores[0].beside and "demo at 127.0.0.1" in benchmark.protocol.judge
    assert VQA_RAD.protocol.judge == "none"
    assert judged(SLAKE, judge_at(server.url, "demo", tmp_path)).score.keywords["main"] == ("language", "en")


def test_a_benchmark_without_words_takes_no_judge(tmp_path):
    benchmark = Benchmark("drawn", "Drawn", "generation", Protocol("", "", ""), lambda root: iter(()),
                          lambda pairs: Scored([], []))  # fmt: skip
    with pytest.raises(EvaluationError, match="drawn: no judge has a say in it"):
        judged(benchmark, judge_at("http://127.0.0.1:1/v1", "demo", tmp_path))
