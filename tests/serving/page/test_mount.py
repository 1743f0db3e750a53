"""The page's routes: what of Gradio is reached, what browsers are told, uploads, results, and whose they are."""

from __future__ import annotations

import io
import threading

import httpx
import pytest
from PIL import Image as PillowImage

from unimedvl.serving.keys import add_key
from unimedvl.serving.page.examples import EXAMPLES
from unimedvl.serving.page.mount import SECRET

TOKEN = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def page(serve, engine):
    with serve(engine, page=True) as running:
        yield running


@pytest.fixture(scope="module")
def picture(photo) -> bytes:
    out = io.BytesIO()
    PillowImage.fromarray(photo).save(out, "PNG")
    return out.getvalue()


def upload(http: httpx.Client, *files: tuple[str, bytes], token: str = TOKEN, **headers: str) -> httpx.Response:
    form = [("image", (name, data)) for name, data in files]
    return http.post("/page/upload", files=form, headers={SECRET: token, **headers})


def test_the_page_loads_nothing_from_elsewhere(page):
    answer = page.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and "default-src 'self'" in policy and "http" not in policy
    assert answer.headers["cache-control"] == "no-store"
    css = page.http.get("/theme.css").text
    assert "http" not in css.replace("xmlns='http://www.w3.org/2000/svg'", "") and "@import" not in css


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/info", "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://example.org/",
     "/monitoring", "/login", "/gradio_api/deep_link", "/gradio_api/runs", "/gradio_api/vibe-code", "/nothing"],
)  # fmt: skip
def test_routes_of_gradio_that_the_page_does_not_use_are_not_there(page, path):
    answer = page.http.get(path)
    assert answer.status_code == 404 and "error" in answer.json()


def test_the_api_answers_as_without_the_page(page):
    assert page.http.get("/v1/chat/completions").status_code == 405
    assert page.http.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert page.http.get("/health").json()["status"] == "ok"


def test_a_file_is_taken_and_a_bad_one_told_in_a_sentence(page, picture):
    answer = upload(page.http, ("good.png", picture), ("bad.png", b"not an image"), ("../../etc/x.png", picture[:500]))
    told = answer.json()
    assert answer.status_code == 200 and told["added"] == 1
    assert [p.partition(":")[0] for p in told["problems"]] == ["bad.png", "x.png"]


def test_no_more_images_are_kept_than_the_server_takes(serve, engine, picture):
    with serve(engine, page=True, limits={"images": 2}) as running:
        assert upload(running.http, ("a.png", picture)).json() == {"added": 1, "problems": []}
        told = upload(running.http, ("b.png", picture), ("c.png", picture)).json()
        assert told["added"] == 1 and "at most 2 images" in told["problems"][0]


def test_an_upload_without_a_tab_or_from_another_site_is_refused(page, picture):
    assert upload(page.http, ("x.png", picture), token="guess").status_code == 410
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert upload(page.http, ("x.png", picture), **foreign).status_code == 403


def test_every_example_has_a_picture(page):
    for key in EXAMPLES:
        answer = page.http.get(f"/page/examples/{key}.png")
        assert PillowImage.open(io.BytesIO(answer.content)).size[0] >= 200
    assert page.http.get("/page/examples/nothing.png").status_code == 404


def test_with_keys_the_page_asks_for_one_and_tabs_are_their_owners(serve, engine, tmp_path, picture):
    keys = {name: add_key(tmp_path / "keys", name) for name in ("anna", "ben")}
    with serve(engine, page=True, keys=tmp_path / "keys") as running:
        http = httpx.Client(base_url=running.url)
        refused = http.get("/")
        assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic")
        assert http.get("/page/results/x/png").status_code == 401
        for name, key in keys.items():
            assert http.get("/", auth=(name, key)).status_code == 200
        form = {"image": ("x.png", picture)}
        taken = http.post("/page/upload", files=form, headers={SECRET: TOKEN}, auth=("anna", keys["anna"]))
        assert taken.json()["added"] == 1
        opened = {"data": [TOKEN], "fn_index": 0, "session_hash": "tab"}  # what the page does first
        for name, key in keys.items():
            seen = http.post("/gradio_api/run/predict", json=opened, auth=(name, key)).text
            assert ("x.png" in seen) == (name == "anna") and "nano" in seen
        http.close()


def test_what_is_left_is_told_by_the_tab(page):
    assert page.http.post("/page/leave", content=TOKEN).status_code == 204
    assert page.http.get("/page/results/nothing/png").status_code == 410


def test_several_replicas_say_that_they_have_no_page(serve, engine):
    with serve(engine, page=True, replicas=2) as running:
        answer = running.http.get("/")
        assert answer.status_code == 200 and "replicas=1" in answer.text


def test_a_page_of_a_model_that_only_reads_has_no_task_that_draws(serve, engine):
    with serve(engine, page=True, generation=False) as running:
        told = running.http.get("/config").text
    assert "form-ask" in told and "form-segment" not in told



def test_the_page_says_what_runs_and_whether_it_is_there_yet(serve, engine, wait_until):
    from unimedvl.serving.page.pieces import banner

    wait = threading.Event()

    def load():
        wait.wait(60)
        raise ValueError("no such model")

    with serve(load, page=True) as running:
        assert "being loaded" in banner(running.service)
        wait.set()
        assert wait_until(lambda: running.service.engine.failure is not None)
        assert "could not be loaded" in banner(running.service)
    with serve(engine) as running:
        told = banner(running.service)
    assert "<b>nano</b>" in told and "simulated" in told and "Not for clinical use" in told
