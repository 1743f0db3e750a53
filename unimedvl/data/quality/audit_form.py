"""A small local server with a page for each record of an audit, for any number of raters at once.

It answers this machine alone unless told otherwise. It has no passwords: whoever can reach it can rate. A request
under a foreign host name is refused (DNS rebinding), and so is a rating that another site's page sends (CSRF).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import sys
import tempfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from unimedvl.data.error import DataError
from unimedvl.data.page import made_by_model, made_how, thumbnail
from unimedvl.data.quality.audit import DIMENSIONS
from unimedvl.data.quality.audit_assets import FORM_ICON, FORM_SCRIPT, FORM_STYLE
from unimedvl.data.quality.audit_folder import Audit, rater_name
from unimedvl.data.quality.audit_page import Item, done_page, item_page, refused_page, start_page
from unimedvl.data.quality.ratings import make_rating, write_ratings

PORT = 8790
# Bytes of a rating, which is seven numbers and a comment; and pixels of an image as shown.
_LARGEST_BODY = 16 * 1024
_SHOWN_SIDE = 1024
# Seconds that a browser may take to send a request.
_PATIENCE = 30
_log = logging.getLogger(__name__)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer, under which browsers send the form's own origin as "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
# By address their type and content.
_ASSETS = {
    "/form.css": ("text/css", FORM_STYLE),
    "/form.js": ("text/javascript", FORM_SCRIPT),
    "/icon.svg": ("image/svg+xml", FORM_ICON),
}


class Refused(Exception):
    """A request that is not answered. status: of HTTP. message: one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AuditServer(ThreadingHTTPServer):
    """The server of one audit; `serve_forever` runs it.

    port: 0 takes any that is free; `url` says which it is.
    Raises:
        DataError: the port is taken, or the host is not this machine's.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, audit: Audit, port: int = PORT, host: str = "127.0.0.1") -> None:
        self.audit, self.host = audit, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise DataError(f"can't listen on {host} port {port}: {error}; give another with --port") from error

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error; all else is logged."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("a request failed")

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.server_port}/"

    def known_host(self, header: str) -> bool:
        """Whether a request's Host header names this server: localhost, an address, or the name it was given."""
        try:
            parts = urlsplit(f"//{header}")
            name, port = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or (port or 80) != self.server_port:
            return False
        if name in ("localhost", self.host.lower()):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # No name stands behind an address, so nobody can turn it to another machine.
        return address.is_loopback or not _loopback(self.host)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Handler(BaseHTTPRequestHandler):
    server: AuditServer
    protocol_version = "HTTP/1.1"
    server_version = "unimedvl-audit"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, work: Callable[[], None]) -> None:
        try:
            if not self.server.known_host(self.headers.get("Host", "")):
                raise Refused(421, f"this server is {self.server.url} and goes by no other name")
            work()
        except Refused as refused:
            self._refuse(refused.status, str(refused))
        except DataError as error:
            self._refuse(400, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:  # such as no room for a file meanwhile
            self._refuse(500, error.strerror or str(error))

    def log_message(self, *_: object) -> None:
        """Nothing: who rated what is in the ratings."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, such as a method that is not known, in one line too."""
        self._send(code, "text/plain", f"{message or 'refused'}\n", close=True)

    def _refuse(self, status: int, message: str) -> None:
        """One line; a page of it for a browser, which says that it takes one."""
        if "text/html" in self.headers.get("Accept", ""):
            self._send(status, "text/html", refused_page(message), close=True)
        else:
            self._send(status, "text/plain", message + "\n", close=True)

    # Pages ---------------------------------------------------------------------------------------

    def _get(self) -> None:
        parts = urlsplit(self.path)
        audit = self.server.audit
        if parts.path == "/":
            total = len(audit.samples)
            self._send(200, "text/html", start_page([(r, len(audit.of(r))) for r in audit.raters()], total))
        elif parts.path in _ASSETS:
            self._send(200, *_ASSETS[parts.path])
        elif parts.path == "/ratings.csv":
            self._send(200, "text/csv", self._csv())
        elif parts.path == "/rate":
            self._go_on(rater_name(dict(parse_qsl(parts.query)).get("rater", "")))
        elif match := re.fullmatch(r"/rate/([^/]+)", parts.path):
            self._go_on(rater_name(match[1]))
        elif match := re.fullmatch(r"/rate/([^/]+)/done", parts.path):
            self._send(200, "text/html", done_page(rater_name(match[1]), len(audit.samples)))
        elif match := re.fullmatch(r"/rate/([^/]+)/(\d{1,9})", parts.path):
            self._send(200, "text/html", item_page(self._item(match[1], match[2])))
        elif match := re.fullmatch(r"/image/(\d{1,9})/(\d{1,9})", parts.path):
            self._image(match[1], match[2])
        else:
            raise Refused(404, "no such page")

    def _item(self, rater: str, number: str) -> Item:
        audit, name = self.server.audit, rater_name(rater)
        sample = audit.samples[self._place(number)]
        record, saved = sample.record, audit.of(name)
        made = made_how(record, audit.simulated)
        if not made and any(made_by_model(load()) for load in sample.images):
            made = "synthetic"
        before = saved.get((record.dataset, record.id))
        return Item(name, int(number), len(audit.samples), len(saved), record, made, before)

    def _csv(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            write_ratings(file := Path(folder) / "ratings.csv", self.server.audit.ratings())
            return file.read_bytes()

    def _place(self, number: str) -> int:
        total = len(self.server.audit.samples)
        if not 1 <= int(number) <= total:
            raise Refused(404, f"no record {int(number)}; there are 1 to {total}")
        return int(number) - 1

    def _image(self, number: str, which: str) -> None:
        sample = self.server.audit.samples[self._place(number)]
        if not 1 <= int(which) <= len(sample.images):
            raise Refused(404, f"no image {int(which)}; the record has {len(sample.images)}")
        picture = sample.record.pictures[int(which) - 1]
        try:
            shown = thumbnail(sample.images[int(which) - 1](), picture.path, _SHOWN_SIDE)
        except DataError as error:
            raise Refused(404, f"this image can't be shown: {error}") from error
        # A browser lays out an image that is opened alone by a style of its own.
        self._send(200, "image/png", shown.png, {"Content-Security-Policy": _IMAGE_POLICY})

    def _go_on(self, rater: str, after: int = 0) -> None:
        """To the first record after this one that the rater has not rated, from the beginning again at the end."""
        audit = self.server.audit
        done, total = audit.of(rater), len(audit.samples)
        for step in range(total):
            place = (after + step) % total
            record = audit.samples[place].record
            if (record.dataset, record.id) not in done:
                self._redirect(f"/rate/{rater}/{place + 1}")
                return
        self._redirect(f"/rate/{rater}/done")

    # Saving --------------------------------------------------------------------------------------

    def _post(self) -> None:
        match = re.fullmatch(r"/rate/([^/]+)/(\d{1,9})", urlsplit(self.path).path)
        if match is None:
            raise Refused(404, "no such page")
        self._check_origin()
        values = self._form()
        place, rater = self._place(match[2]), rater_name(match[1])
        record = self.server.audit.samples[place].record
        for dimension in DIMENSIONS:
            if dimension.name not in values:
                raise Refused(400, f"{dimension.title} is not rated; choose a number, or that it does not apply")
        named = {"rater": rater, "dataset": record.dataset, "record": record.id}
        if taken := sorted(named.keys() & values.keys()):
            raise Refused(400, f"{taken[0]}: is said by the address, and not in the form")
        self._save(make_rating(named | values, f"record {place + 1}"))
        self._go_on(rater, place + 1)

    def _save(self, rating) -> None:
        try:
            self.server.audit.save(rating)
        except DataError as error:
            raise Refused(500, str(error)) from error

    def _check_origin(self) -> None:
        """Refuse what a page of another site has sent."""
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site")
        own = f"http://{self.headers['Host']}"
        if (origin is not None and origin.lower() != own.lower()) or site not in (None, "same-origin", "none"):
            raise Refused(403, "a page of another site may not rate")

    def _form(self) -> dict[str, str]:
        kind = self.headers.get_content_type()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(415, f"expected a form (application/x-www-form-urlencoded), found {kind}")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,18}", length):
            raise Refused(411, "expected a Content-Length")
        if int(length) > _LARGEST_BODY:
            raise Refused(413, f"{int(length):,} bytes; at most {_LARGEST_BODY:,} are taken")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "the form is cut short")
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
        except ValueError as error:
            raise Refused(400, "the form can't be read: no UTF-8, or too many fields") from error
        values = dict(pairs)
        if len(values) < len(pairs):
            raise Refused(400, "a field is there twice")
        return values

    # Answers -------------------------------------------------------------------------------------

    def _redirect(self, where: str) -> None:
        self._send(303, "text/plain", "", {"Location": where})

    def _send(
        self, status: int, kind: str, body: str | bytes, more: dict[str, str] | None = None, close: bool = False
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        if close:
            # What is left of a body that was not read must not be taken for the next request.
            self.close_connection = True
        self.send_response(status)
        text = kind.startswith("text/")
        headers = {"Content-Type": f"{kind}; charset=utf-8" if text else kind, "Content-Length": str(len(data))}
        for name, value in (_HEADERS | headers | (more or {}) | ({"Connection": "close"} if close else {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
