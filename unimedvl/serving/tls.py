"""Certificates and keys of a server, looked at before it starts."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

_SOON = 14  # days


class TlsError(ValueError):
    """A certificate or key that can't be served with; the message is one line."""


def check_tls(certificate: Path, key: Path) -> list[str]:
    """Load both as the server will. Returns warnings, one line each: a certificate that ends soon, a key that others
    may read.

    Raises:
        TlsError: a file that can't be read or is none, a key with a password or of another certificate, a certificate
            that has ended or not begun.
    """
    from cryptography import x509

    pem = {name: _read(name, file) for name, file in (("certificate", certificate), ("key", key))}
    try:
        first = x509.load_pem_x509_certificates(pem["certificate"])[0]
    except (ValueError, IndexError) as error:
        raise TlsError(f"tls.certificate: {certificate} holds no certificate in PEM") from error
    if b"ENCRYPTED" in pem["key"]:
        raise TlsError(f"tls.key: {key} has a password; take it off (openssl pkey -in {key} -out FILE)")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if "MISMATCH" in str(error):
            raise TlsError(f"tls: {key} is the key of another certificate than {certificate}") from error
        raise TlsError(f"tls.key: {key} holds no key in PEM") from error
    except (OSError, ValueError) as error:
        raise TlsError(f"tls: {certificate} and {key} can't be loaded") from error
    now, begin, end = datetime.now(UTC), first.not_valid_before_utc, first.not_valid_after_utc
    if not begin <= now <= end:
        word = f"ended on {end:%Y-%m-%d}" if now > end else f"begins on {begin:%Y-%m-%d}"
        raise TlsError(f"tls.certificate: {certificate} {word}")
    warnings = []
    if (end - now).days < _SOON:
        warnings.append(f"{certificate} ends on {end:%Y-%m-%d}")
    if os.name == "posix" and key.stat().st_mode & 0o004:
        warnings.append(f"{key} may be read by everybody on this machine; chmod 600 it")
    return warnings


def _read(name: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsError(f"tls.{name}: {file}: {error.strerror}") from error
