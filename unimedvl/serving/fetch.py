"""Images named by URL, fetched only from hosts that the server's owner has listed.

A server that fetches what strangers name can be made to ask its own network (server-side request forgery). So a host is
listed exactly, with its port; HTTPS unless the list says http; redirects are not followed; and the name is resolved
once, its address judged, and that very address connected to, so that a name which changes its address meanwhile (DNS
rebinding) changes nothing. Addresses that are not public are reached only where the list names them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unimedvl.serving.uploads import Refused

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_URL = 4000
_ENTRY = re.compile(r"(?:(https?)://)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?/?", re.IGNORECASE)
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HEADERS = {"Accept": "image/*, application/dicom, application/octet-stream", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Allowed:
    """Hosts that images are fetched from, and networks whose addresses they may have though these are not public."""

    places: frozenset[tuple[str, str, int]]  # scheme, host, port
    networks: tuple[Network, ...]

    def permits(self, address: str) -> bool:
        """Whether an address may be connected to."""
        found = _embedded(ipaddress.ip_address(address.partition("%")[0]))
        return _public(found) or any(found in network for network in self.networks)


def parse_allowed(entries: Sequence[str]) -> Allowed:
    """The list of hosts: ``images.example.org``, ``host:8443``, ``http://pacs.local:8042``, ``https://10.1.2.3``, and
    networks such as ``10.1.0.0/16``, in which the named hosts may be.

    Raises:
        ValueError: an entry is none of these.
    """
    places, networks = set(), []
    for entry in entries:
        network = _network(entry)
        if network is not None:
            networks.append(network)
            continue
        match = _ENTRY.fullmatch(entry.strip())
        if match is None or not 0 < int(match[3] or 1) < 65536:
            raise ValueError(
                f"fetch: {entry!r} is no host; name each exactly, such as images.example.org, host:8443,"
                " http://host:8042, or a network that they may be in, such as 10.1.0.0/16"
            )
        scheme, host = (match[1] or "https").lower(), match[2].strip("[]").lower()
        places.add((scheme, host, int(match[3] or _PORTS[scheme])))
        try:
            networks.append(ipaddress.ip_network(host))  # an address that is listed is meant
        except ValueError:
            if host == "localhost":
                networks += [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
    return Allowed(frozenset(places), tuple(networks))


def fetch(url: str, allowed: Sequence[str] | Allowed, *, most: int = 48 * 2**20, seconds: float = 20) -> bytes:
    """The bytes that a URL names. Blocks: call it in a thread.

    allowed: as `parse_allowed` takes it. most: bytes. seconds: that all of it may take.

    Raises:
        Refused: the URL is not allowed, or it gives nothing; one sentence.
        ValueError: the list is none.
    """
    allowed = allowed if isinstance(allowed, Allowed) else parse_allowed(allowed)
    return asyncio.run(_fetched(url, allowed, most, seconds))


async def _fetched(url: str, allowed: Allowed, most: int, seconds: float) -> bytes:
    import httpx

    asked = _checked(url, allowed)
    try:
        async with asyncio.timeout(seconds):
            address = await _resolved(asked, allowed)
            return await _got(asked, address, most, seconds)
    except TimeoutError:
        raise Refused(400, f"{asked.host}: took over {seconds:g} seconds") from None
    except (httpx.HTTPError, ssl.SSLError, OSError) as error:
        what = "its certificate is not trusted" if "CERTIFICATE_VERIFY" in str(error) else "it can't be reached"
        raise Refused(400, f"{asked.host}: {what}") from None


def _checked(url: str, allowed: Allowed) -> httpx.URL:
    """The URL, if its host is listed. The library that judges it here is the one that asks."""
    import httpx

    try:
        asked = httpx.URL(url) if len(url) <= _LONGEST_URL else None
        host = "" if asked is None else asked.raw_host.decode("ascii").lower().rstrip(".")
    except (httpx.InvalidURL, UnicodeError, ValueError):
        asked, host = None, ""
    if asked is None or not host or asked.scheme not in _PORTS:
        raise Refused(400, "the image's URL is none; give https://HOST/..., or the image as data:image/png;base64,...")
    if asked.userinfo:
        raise Refused(400, "the image's URL holds a name or password, which is not sent on")
    if (asked.scheme, host.strip("[]"), asked.port or _PORTS[asked.scheme]) not in allowed.places:
        raise Refused(400, "the image's URL is of a host from which nothing is fetched here; send the image as"
                           " data:image/png;base64,...")
    return asked


async def _resolved(asked: httpx.URL, allowed: Allowed) -> str:
    """The address to connect to. Raises Refused where one of the host's is not to be reached."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            asked.raw_host.decode("ascii").strip("[]"), asked.port or _PORTS[asked.scheme], type=socket.SOCK_STREAM
        )
    except OSError:
        raise Refused(400, f"{asked.host}: there is no such host") from None
    addresses = list(dict.fromkeys(entry[4][0] for entry in found))
    if not addresses or not all(allowed.permits(address) for address in addresses):
        raise Refused(400, f"{asked.host}: has an address that is not public, and that is not listed here")
    return addresses[0]


async def _got(asked: httpx.URL, address: str, most: int, seconds: float) -> bytes:
    import httpx

    pinned = asked.copy_with(host=address, fragment=None)
    host = asked.raw_host.decode("ascii").strip("[]")
    headers = _HEADERS | {"Host": asked.netloc.decode("ascii")}
    client = httpx.AsyncClient(
        verify=_trusted() if asked.scheme == "https" else False, trust_env=False, follow_redirects=False,
        timeout=seconds, headers=headers,
    )  # fmt: skip
    async with client, client.stream("GET", pinned, extensions={"sni_hostname": host}) as answer:
        if answer.is_redirect:
            raise Refused(400, f"{asked.host}: answers with a redirect, which is not followed; give where it leads")
        if answer.status_code != 200:
            raise Refused(400, f"{asked.host}: answers with status {answer.status_code}")
        if answer.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise Refused(400, f"{asked.host}: answers in a compressed form, which was not asked for")
        length = answer.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise _too_large(asked, most)
        out = bytearray()
        async for piece in answer.aiter_raw():
            out += piece
            if len(out) > most:
                raise _too_large(asked, most)
        return bytes(out)


def _too_large(asked: httpx.URL, most: int) -> Refused:
    return Refused(413, f"{asked.host}: sends more than {most / 2**20:.4g} MiB, which is the most")


def _trusted() -> ssl.SSLContext:
    """The authorities of this machine, which SSL_CERT_FILE may add to, and those that browsers trust."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _network(entry: str) -> Network | None:
    if "/" not in entry or "://" in entry:
        return None
    try:
        return ipaddress.ip_network(entry.strip())
    except ValueError:
        return None


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


def _public(address: Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
