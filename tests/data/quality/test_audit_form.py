"""The raters' form over real HTTP: two raters at once, reload, kill and restart, and what is refused."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from unimedvl.data.error import DataError
from unimedvl.data.miniatures.paint import encoded, picture
from unimedvl.data.quality.audit import DIMENSIONS, evaluate
from unimedvl.data.quality.audit_folder import Audit, write_audit
from unimedvl.data.quality.audit_form import AuditServer
from unimedvl.data.quality.ratings import read_ratings
from unimedvl.data.record import Message, Picture, Record
from unimedvl.data.shards import write_shard
from unimedvl.data.source import Sample
from unimedvl.provenance import save

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def folder(miniature_shard, tmp_path) -> Path:
    write_audit(tmp_path / "audit", [miniature_shard])
    return tmp_path / "audit"


def record(name: str, **values) -> Record:
    return Record(
        main_task_type="understanding", sub_task_type="vqa", modality="cxr", dataset="invented", id=name,
        input_img=(Picture(path="a.png"),), message=(Message(speaker="gpt", value="An invented text."),), **values,
    )  # fmt: skip


class Browser:
    """One connection to a server, as a browser keeps it."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.host, timeout=20)

    def ask(self, method: str, path: str, body: str | bytes | None = None, **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, named)
        answer = self.connection.getresponse()
        return answer.status, answer.getheader("Location"), answer.read().decode("utf-8", "replace")

    def get(self, path: str) -> str:
        status, _, text = self.ask("GET", path)
        assert status == 200, text
        return text

    def rate(self, path: str, **values) -> tuple[int, str | None, str]:
        given = {d.name: d.most for d in DIMENSIONS} | values
        body = urlencode({name: value for name, value in given.items() if value is not None})
        return self.ask("POST", path, body, **FORM, Origin=f"http://{self.host}")


@pytest.fixture
def serving(in_background):
    """Serve an audit's folder for the length of a `with`."""
    return lambda folder: in_background(AuditServer(Audit(folder), port=0))


@pytest.fixture
def server(folder, serving):
    with serving(folder) as running:
        yield running


def checked(page: str) -> dict[str, str]:
    """What a page's form shows as chosen."""
    chosen: dict[str, str] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            values = dict(attrs)
            if tag == "input" and values.get("type") == "radio" and "checked" in values:
                assert values["name"] not in chosen
                chosen[values["name"]] = values["value"]

    Reader().feed(page)
    return chosen


# Rating ------------------------------------------------------------------------------------------


def rate_all(url: str, rater: str, share: float, failures: list) -> None:
    try:
        browser = Browser(url)
        _, path, _ = browser.ask("GET", f"/rate?rater={rater}")
        while not path.endswith("/done"):
            browser.get(path)
            status, path, text = browser.rate(path, **{d.name: f"{d.most * share:g}" for d in DIMENSIONS})
            assert status == 303, text
    except Exception as error:  # noqa: BLE001 - told by the test
        failures.append(error)


def test_two_raters_on_two_servers_at_once_lose_no_rating(folder, serving, tmp_path):
    failures: list = []
    with serving(folder) as first, serving(folder) as second:
        work = [(first.url, "ann", 1.0), (first.url, "bob", 0.0), (second.url, "cy", 0.0), (second.url, "ann", 1.0)]
        threads = [threading.Thread(target=rate_all, args=(*w, failures)) for w in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        csv = Browser(second.url).get("/ratings.csv")
    (tmp_path / "ratings.csv").write_text(csv)
    ratings, audit = read_ratings(tmp_path / "ratings.csv"), Audit(folder)
    assert len(ratings) == 3 * len(audit.samples)
    found = evaluate(audit.records, ratings)
    assert {n: m.mean for n, m in found.by_rater.items()} == {"ann": 1.0, "bob": 0.0, "cy": 0.0}
    assert found.verdict == "rejected" and found.rated == len(audit.samples)


def test_what_was_rated_is_shown_again(server):
    browser = Browser(server.url)
    assert "Not rated yet." in browser.get("/rate/ann/2") and not checked(browser.get("/rate/ann/2"))
    values = {"factual_accuracy": "3", "clinical_reasoning": "", "modality_match": "0.5"}
    values["comment"] = 'the "left" <side>'
    assert browser.rate("/rate/ann/2", **values)[:2] == (303, "/rate/ann/3")
    shown = browser.get("/rate/ann/2")
    assert checked(shown) == {d.name: f"{d.most:g}" for d in DIMENSIONS} | {
        name: values[name] for name in ("factual_accuracy", "clinical_reasoning", "modality_match")
    }
    assert 'value="the &quot;left&quot; &lt;side&gt;"' in shown and "1 of 11 rated by ann" in shown
    assert not checked(browser.get("/rate/bob/2"))  # another rater does not see it
    browser.rate("/rate/ann/2", factual_accuracy="4.25")  # not a step of the form's
    assert checked(browser.get("/rate/ann/2"))["factual_accuracy"] == "4.25"


def test_raters_go_on_where_they_stopped(server):
    browser = Browser(server.url)
    assert browser.ask("GET", "/rate?rater=Ann")[1] == "/rate/ann/1"
    browser.rate("/rate/ann/1")
    assert browser.rate("/rate/ann/11")[1] == "/rate/ann/2"  # the first that is left, after the last
    assert browser.ask("GET", "/rate/ann")[1] == "/rate/ann/2" and "ann</a>: 2 of 11" in browser.get("/")


def test_every_image_of_a_record_is_a_png(server):
    browser, audit = Browser(server.url), server.audit
    for number, sample in enumerate(audit.samples, 1):
        page = browser.get(f"/rate/ann/{number}")
        sources = re.findall(r'<img src="([^"]+)" alt="[^"]+"', page)
        assert len(sources) == len(sample.images)
        for image in sources:
            browser.connection.request("GET", image)
            answer = browser.connection.getresponse()
            assert answer.getheader("Content-Type") == "image/png" and answer.read().startswith(b"\x89PNG")


def test_simulated_and_drawn_images_are_called_so(serving, tmp_path):
    simulated, drawn = (record(k, attributes={"simulated": "yes"} if k == "1" else {}) for k in "12")
    save(picture("cxr", 1), tmp_path / "made.png", {"model": "tiny"})
    images = [encoded(picture("cxr", 1)), (tmp_path / "made.png").read_bytes()]
    write_shard(tmp_path / "a.parquet", [
        Sample(r, (partial(bytes, i),)) for r, i in zip((simulated, drawn), images, strict=True)
    ])  # fmt: skip
    write_audit(tmp_path / "audit", [tmp_path / "a.parquet"])
    with serving(tmp_path / "audit") as server:
        for number, word in ((1, "simulated"), (2, "synthetic")):
            page = Browser(server.url).get(f"/rate/ann/{number}")
            assert f"These images are {word}." in page and f'alt="{word} cxr image, input 1"' in page


def test_the_form_is_labelled_and_needs_no_script(server):
    page = Browser(server.url).get("/rate/ann/1")
    assert page.count("<fieldset") == page.count("<legend") == len(DIMENSIONS)
    radios = re.findall(r"<label><input type=\"radio\"[^>]* required[^>]*><span>[^<]+</span></label>", page)
    assert len(radios) == page.count('type="radio"') == 4 + 6 * 7
    assert '<label for="comment">' in page and 'name="viewport"' in page and '<html lang="en">' in page
    assert "style=" not in page and "onclick" not in page  # which the policy forbids


# A process that is killed ------------------------------------------------------------------------


@contextmanager
def command(folder: Path):
    """`unimedvl data audit serve` as a process of its own; yields it and its address."""
    words = [sys.executable, "-m", "unimedvl", "data", "audit", "serve", str(folder)]
    words += ["--port", "0", "--json", "--quiet"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield process, json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_was_saved_outlives_a_kill(folder):
    with command(folder) as (process, url):
        browser = Browser(url)
        assert browser.rate("/rate/ann/1", factual_accuracy="2")[0] == 303
        process.kill()
    with command(folder) as (process, url):
        assert checked(Browser(url).get("/rate/ann/1"))["factual_accuracy"] == "2"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "values", "status", "words"), [
    ("/rate/ann/12", {}, 404, "no record 12; there are 1 to 11"),
    ("/rate/ann/0", {}, 404, "no record 0"),
    ("/rate/a%20b/1", {}, 400, "rater 'a%20b': expected 1 to 32"),
    ("/rate/..%2f..%2fx/1", {}, 400, "expected 1 to 32"),
    ("/elsewhere", {}, 404, "no such page"),
    ("/rate/ann/1", {"completeness": "6"}, 400, "record 1: completeness: expected 0 to 5, found '6'"),
    ("/rate/ann/1", {"modality_match": "2"}, 400, "modality_match: expected 0 to 1"),
    ("/rate/ann/1", {"completeness": "nan"}, 400, "expected 0 to 5"),
    ("/rate/ann/1", {"completeness": None}, 400, "Completeness is not rated"),
    ("/rate/ann/1", {"beauty": "1"}, 400, "unknown column 'beauty'"),
    ("/rate/ann/1", {"rater": "bob"}, 400, "rater: is said by the address"),
    ("/rate/ann/1", {d.name: "" for d in DIMENSIONS}, 400, "no dimension is rated"),
    ("/rate/ann/1", {"comment": "x" * 20000}, 413, "at most 16,384 are taken"),
])  # fmt: skip
def test_a_wrong_rating_is_one_line_and_not_saved(server, path, values, status, words):
    found, _, text = Browser(server.url).rate(path, **values)
    assert found == status and words in text and text.count("\n") == 1
    assert not server.audit.ratings()


@pytest.mark.parametrize(("headers", "status"), [
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Sec_Fetch_Site": "cross-site"}, 403),
    ({"Host": "evil.example"}, 421), ({"Host": "evil.example:1"}, 421), ({"Content_Type": "text/plain"}, 415),
    ({"Content_Type": "multipart/form-data; boundary=x"}, 415), ({"Content_Length": "x"}, 411),
    ({"Content_Length": "-1"}, 411),
])  # fmt: skip
def test_another_sites_page_can_not_rate(server, headers, status):
    browser = Browser(server.url)
    body = urlencode({d.name: d.most for d in DIMENSIONS})
    given = {"Content_Type": FORM["Content-Type"], "Host": browser.host} | headers
    found, _, text = browser.ask("POST", "/rate/ann/1", body, **given)
    assert found == status and text.count("\n") == 1 and not server.audit.ratings()


def test_a_foreign_host_name_reads_nothing_and_own_names_do(server):
    port = server.server_port
    foreign = ("", "evil.example", f"evil.example:{port}", f"127.0.0.1:{port + 1}", f"10.0.0.1:{port}")
    own = (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}")
    for host, status in [(h, 421) for h in foreign] + [(h, 200) for h in own]:
        assert Browser(server.url).ask("GET", "/", Host=host)[0] == status, host


def test_a_browser_gets_a_refusal_as_a_page_and_all_else_as_a_line(server):
    status, _, text = Browser(server.url).ask("GET", "/rate/ann/99", Accept="text/html,*/*;q=0.8")
    assert status == 404 and "<p>no record 99; there are 1 to 11</p>" in text and 'href="/"' in text
    _, _, text = Browser(server.url).ask("GET", "/rate/<b>/1", Accept="text/html")
    assert "&lt;b&gt;" in text and "<b>" not in text
    assert Browser(server.url).ask("GET", "/rate/ann/99", Accept="*/*")[2] == "no record 99; there are 1 to 11\n"


def test_a_rating_that_can_not_be_written_is_told(server, folder):
    (folder / "ratings").touch()
    status, _, text = Browser(server.url).rate("/rate/ann/1")
    assert status == 500 and text.endswith("the rating is not saved\n") and text.count("\n") == 1


def test_what_a_build_calls_simulated_is_called_so(miniature_shard, serving, tmp_path):
    write_audit(tmp_path / "audit", [miniature_shard], simulated=["slake"])
    with serving(tmp_path / "audit") as server:
        said = ["These images are simulated." in Browser(server.url).get(f"/rate/ann/{n}") for n in range(1, 12)]
        assert said == [r.dataset == "slake" for r in server.audit.records] and 0 < sum(said) < 11


def test_pages_allow_nothing_from_elsewhere(server):
    browser = Browser(server.url)
    browser.connection.request("GET", "/rate/ann/1")
    answer = browser.connection.getresponse()
    answer.read()
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.getheader("Referrer-Policy") == "same-origin"


def test_broken_requests_leave_the_server_well(server):
    for data in (b"\x16\x03\x01\x02\x00\n\n", b"GET\r\n\r\n", b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"POST /rate/ann/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nab"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert "Expert audit" in Browser(server.url).get("/") and not server.audit.ratings()


def test_a_taken_port_is_one_line(server, folder):
    with pytest.raises(DataError, match=f"can't listen on 127.0.0.1 port {server.server_port}: .*--port"):
        AuditServer(Audit(folder), server.server_port)
