"""Images are fetched from listed hosts alone, at addresses that may be reached, within bounds. From a real server."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimedvl.serving.fetch import fetch, parse_allowed
from unimedvl.serving.uploads import Refused

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict]

    def do_GET(self) -> None:
        type(self).seen.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        answer = getattr(self, "answer_" + self.path.strip("/").partition("?")[0].replace("-", "_"), None)
        if answer is None:
            self.send_error(404)
        else:
            answer()

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_image(self) -> None:
        self.send(PNG)

    def answer_away(self) -> None:
        self.send(b"", 302, Location="http://169.254.169.254/latest/meta-data")

    def answer_large(self) -> None:
        self.send(b"", Content_Length=str(10**9))

    def answer_endless(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(bytes(100_000))

    def answer_packed(self) -> None:
        self.send(b"x", Content_Encoding="gzip")

    def answer_drip(self) -> None:
        self.send_response(200)
        for n in range(100):
            self.send_header(f"x-{n}", "y")
            self.flush_headers()
            time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., int]]:
    running = []

    def start(context: ssl.SSLContext | None = None) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return server.server_address[1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def port(serve) -> int:
    return serve()


@pytest.fixture(autouse=True)
def seen() -> list[dict]:
    Handler.seen = []
    return Handler.seen


@pytest.fixture
def names(monkeypatch) -> Callable[..., list]:
    """Have names resolve to what the test says; each look-up takes the next answer, the last one again and again."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def set_up(**answers: list[list[str]]) -> list[str]:
        def resolve(host, port, *rest, **more):
            told = answers.get(str(host).replace(".", "_"))
            if told is None:
                return real(host, port, *rest, **more)
            asked.append(host)
            addresses = told.pop(0) if len(told) > 1 else told[0]
            kinds = [socket.AF_INET6 if ":" in a else socket.AF_INET for a in addresses]
            return [(k, socket.SOCK_STREAM, 6, "", (a, port)) for k, a in zip(kinds, addresses, strict=True)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        return asked

    return set_up


def refused(url: str, allowed: list[str], said: str, status: int = 400, **bounds) -> None:
    with pytest.raises(Refused) as caught:
        fetch(url, allowed, **bounds)
    sentence = str(caught.value)
    assert said in sentence and caught.value.status == status and sentence.isprintable(), sentence


def test_a_listed_host_is_asked(port, seen):
    base = f"http://127.0.0.1:{port}"
    assert fetch(f"{base}/image?who=me#part", [base]) == PNG
    assert (seen[0]["path"], seen[0]["host"]) == ("/image?who=me", f"127.0.0.1:{port}")
    assert not {"cookie", "authorization", "referer"} & set(seen[0])


def test_what_is_not_listed_is_not_asked(port, seen):
    here = f"http://127.0.0.1:{port}"
    for url, allowed in (
        (f"{here}/image", []), (f"{here}/image", [f"127.0.0.1:{port}"]), (f"{here}/image", ["http://127.0.0.1"]),
        (f"http://localhost:{port}/image", [here]), (f"http://127.1:{port}/image", [here]),
        (f"http://2130706433:{port}/image", [here]), (f"http://[::ffff:127.0.0.1]:{port}/image", [here]),
        ("http://169.254.169.254/latest", [here]), (f"http://127.0.0.1.evil.test:{port}/", [here]),
        (f"http://evil.test#127.0.0.1:{port}/image", [here]), (f"http://evil.test?@127.0.0.1:{port}/image", [here]),
        (f"http://evil.test/\\@127.0.0.1:{port}/image", [here]), ("https://sub.example.org/", ["example.org"]),
    ):  # fmt: skip
        refused(url, allowed, "of a host from which nothing is fetched")
    for url in ("", "image.png", "ftp://x/y", "file:///etc/passwd", "gopher://x", "http://", "http:///x", "http://a b/",
                "http://x:99999/", "http://[::1", "https://" + "a" * 5000, "http://x\r\nHost: y/"):  # fmt: skip
        refused(url, [here], "the image's URL is")
    refused(f"http://me:secret@127.0.0.1:{port}/image", [here], "holds a name or password")
    refused(f"http://127.0.0.1:{port}@evil.test/image", [here], "holds a name or password")
    assert seen == []


def test_names_at_addresses_that_are_not_public_are_refused(port, seen, names):
    place = f"http://images.test:{port}"
    for address in ("127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
                    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "ff02::1",
                    "64:ff9b::7f00:1", "2002:7f00:1::", "192.0.2.1", "198.18.0.1"):  # fmt: skip
        names(images_test=[[address]])
        refused(f"{place}/image", [place], "has an address that is not public")
    names(images_test=[["93.184.216.34", "127.0.0.1"]])
    refused(f"{place}/image", [place], "has an address that is not public")
    names(images_test=[["127.0.0.1"]])
    refused(f"{place}/image", [place, "10.0.0.0/8"], "has an address that is not public")
    assert seen == []


def test_a_network_that_is_listed_is_reached_by_the_listed_names(port, seen, names):
    place = f"http://images.test:{port}"
    names(images_test=[["127.0.0.1"]])
    assert fetch(f"{place}/image", [place, "127.0.0.0/8"]) == PNG
    assert seen[0]["host"] == f"images.test:{port}"
    refused(f"http://127.0.0.1:{port}/image", [place, "127.0.0.0/8"], "of a host from which nothing is fetched")
    assert fetch(f"http://localhost:{port}/image", [f"http://localhost:{port}"]) == PNG


def test_the_address_that_was_judged_is_the_one_connected_to(port, seen, names):
    place = f"http://images.test:{port}"
    looked_up = names(images_test=[["127.0.0.1"], ["10.255.255.1"]])
    assert fetch(f"{place}/image", [place, "127.0.0.1/32"]) == PNG
    assert looked_up == ["images.test"]


def test_redirects_are_not_followed(port, seen):
    here = f"http://127.0.0.1:{port}"
    refused(f"{here}/away", [here, "http://169.254.169.254"], "answers with a redirect, which is not followed")
    refused(f"{here}/none", [here], "answers with status 404")
    assert len(seen) == 2


def test_size_and_time_are_bounded(port):
    here = f"http://127.0.0.1:{port}"
    refused(f"{here}/large", [here], "sends more than 48 MiB", 413)
    refused(f"{here}/endless", [here], "sends more than 0.9537 MiB", 413, most=1_000_000)
    refused(f"{here}/drip", [here], "took over 1 seconds", seconds=1)
    refused(f"{here}/packed", [here], "in a compressed form")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused(f"{here}/image", [here], "took over 0.5 seconds", seconds=0.5)
    refused(f"{here}/image", [here], "can't be reached")


def test_certificates_are_checked_for_the_name_and_not_the_address(serve, names, make_certificate, monkeypatch):
    certificate, key = make_certificate("images.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = serve(context)
    names(images_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    allowed = [f"images.test:{port}", f"other.test:{port}", "127.0.0.0/8"]
    refused(f"https://images.test:{port}/image", allowed, "certificate is not trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(f"https://images.test:{port}/image", allowed) == PNG
    refused(f"https://other.test:{port}/image", allowed, "certificate is not trusted")


def test_proxies_of_the_environment_are_not_asked(port, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    here = f"http://127.0.0.1:{port}"
    assert fetch(f"{here}/image", [here]) == PNG


@pytest.mark.parametrize("entry", ["*", "*.example.org", "", "ftp://x", "x:0", "x:99999", "x/y", "http://x/y", "a b",
                                   "10.0.0.1/8", "user@x", "https://x?y", "[::1"])  # fmt: skip
def test_lists_name_hosts_exactly(entry):
    with pytest.raises(ValueError, match="is no host; name each exactly"):
        parse_allowed([entry])


def test_what_a_list_may_hold():
    listed = ["Images.Example.org", "h:8443", "http://pacs.local:8042/", "https://[fd00::1]", "10.1.0.0/16"]
    allowed = parse_allowed(listed)
    assert allowed.places == {("https", "images.example.org", 443), ("https", "h", 8443), ("http", "pacs.local", 8042),
                              ("https", "fd00::1", 443)}  # fmt: skip
    assert allowed.permits("10.1.2.3") and allowed.permits("fd00::1") and allowed.permits("8.8.8.8")
    assert not allowed.permits("10.2.0.1") and not allowed.permits("fd00::2")


@given(st.text(max_size=60) | st.builds("http{}://{}".format, st.sampled_from(["", "s"]), st.text(max_size=40)))
def test_any_text_as_url_is_refused(text):
    with pytest.raises(Refused) as caught:
        fetch(text, ["images.example.org"])
    assert str(caught.value).isprintable()
