"""Pages of other sites can't make a browser ask, and answers are kept out of caches and frames."""

from __future__ import annotations

import asyncio

import pytest

from unimedvl.serving.browsers import BrowserHeaders, check_browser
from unimedvl.serving.errors import ApiError

OWN = {"host": "127.0.0.1:8000"}


def scope(method: str = "POST", kind: str = "http", **headers: str) -> dict:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in (OWN | headers).items()]
    return {"type": kind, "method": method, "path": "/v1/x", "headers": raw}


def code(asked: dict, host: str | None = "127.0.0.1", origins: tuple[str, ...] = ()) -> str | None:
    try:
        check_browser(asked, host=host, origins=origins)
    except ApiError as error:
        assert error.status == 403
        return error.code
    return None


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:9", "[::1]:8000", "localhost."])
def test_an_open_server_answers_to_its_own_names(host):
    assert code(scope("GET", host=host)) is None


@pytest.mark.parametrize("host", ["evil.test", "evil.test:8000", "127.0.0.1.evil.test", "", "[::2]", "localhost.evil"])
def test_and_to_no_others(host):
    assert code(scope("GET", host=host)) == "wrong_host" == code(scope(kind="websocket", host=host))
    assert code(scope("GET", host=host), host=None) is None


def test_programs_send_no_origin_and_are_answered():
    assert code(scope()) is None and code(scope(sec_fetch_site="none")) is None


@pytest.mark.parametrize("headers", [
    {"origin": "https://evil.test"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9000"},
    {"origin": "http://127.0.0.1:8000", "sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "nonsense"},
])  # fmt: skip
def test_pages_of_other_sites_are_refused_where_they_would_change_something(headers):
    for host in ("127.0.0.1", None):
        assert code(scope(**headers), host) == "cross_site" == code(scope(kind="websocket", **headers), host)
        assert code(scope("GET", **headers), host) is None


def test_own_pages_and_listed_ones_are_answered():
    assert code(scope(origin="http://127.0.0.1:8000")) is None
    assert code(scope(host="ai.test", origin="https://ai.test", sec_fetch_site="same-origin"), None) is None
    assert code(scope(host="behind:80", origin="https://ai.test", sec_fetch_site="same-origin"), None) is None
    listed = ("https://Viewer.test/",)
    assert code(scope(origin="https://viewer.test", sec_fetch_site="cross-site"), None, listed) is None
    assert code(scope(origin="https://viewer.test.evil", sec_fetch_site="cross-site"), None, listed) == "cross_site"
    assert code(scope(origin="https://any.test"), None, ("*",)) is None


def answered(path: str, scheme: str, headers: list) -> dict[str, str]:
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    sent = []

    async def send(message):
        sent.append(message)

    asked = scope("GET") | {"path": path, "scheme": scheme}
    asyncio.run(BrowserHeaders(app)(asked, None, send))
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_answers_bear_the_headers_and_a_routes_own_stay():
    api = answered("/v1/chat/completions", "https", [])
    assert api["cache-control"] == "no-store" and "'none'" in api["content-security-policy"]
    assert api["x-content-type-options"] == "nosniff" and api["strict-transport-security"].startswith("max-age")
    page = answered("/", "http", [(b"cache-control", b"max-age=5"), (b"x-frame-options", b"DENY")])
    assert page["cache-control"] == "max-age=5" and page["x-frame-options"] == "DENY"
    assert "frame-ancestors 'self'" in page["content-security-policy"] and "strict-transport-security" not in page
