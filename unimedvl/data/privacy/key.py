"""The project's secret, and what is derived from it: pseudonyms, UIDs, date shifts.

Everything is HMAC-SHA-256 (RFC 2104) of the original value, so that the same patient or UID gets the same replacement
in every run with the same key, and nobody without the key can go back or try values out.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from unimedvl.data.error import DataError

VARIABLE = "UNIMEDVL_PRIVACY_KEY"
MINIMUM_BYTES = 16
# Dates move back by between a month and ten years.
_FIRST_DAY, _DAYS = 30, 3620


class Key:
    """A secret of at least 16 bytes. It is not shown, and never written by the package but to its own file.

    Raises:
        DataError: the secret is shorter.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MINIMUM_BYTES:
            raise DataError(f"key: expected at least {MINIMUM_BYTES} bytes, found {len(secret)}")
        self._secret = secret

    def __repr__(self) -> str:
        return "Key(...)"

    def digest(self, purpose: str, value: str) -> bytes:
        """32 bytes that follow from the key, the purpose and the value."""
        message = purpose.encode() + b"\x00" + value.encode("utf-8", "surrogateescape")
        return hmac.new(self._secret, message, hashlib.sha256).digest()

    def pseudonym(self, patient: str) -> str:
        """`P-` and 16 hexadecimal digits."""
        return "P-" + self.digest("patient", patient).hex()[:16].upper()

    def uid(self, original: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) from 128 bits, of at most 44 characters."""
        return f"2.25.{int.from_bytes(self.digest('uid', original)[:16], 'big')}"

    def days(self, patient: str) -> int:
        """By how many days the patient's dates move; from -3,649 to -30."""
        return -(_FIRST_DAY + int.from_bytes(self.digest("dates", patient)[:8], "big") % _DAYS)


def read_key(file: Path | None = None) -> Key:
    """The key from a file, or from the environment variable UNIMEDVL_PRIVACY_KEY. White space around it is no part.

    Raises:
        DataError: there is none, it can't be read, or is too short.
    """
    if file is not None:
        try:
            return Key(Path(file).read_bytes().strip())
        except OSError as error:
            raise DataError(f"{file}: no key could be read: {error.strerror}") from error
    secret = os.environb.get(VARIABLE.encode(), b"").strip()
    if not secret:
        raise DataError(f"no key: give a file with --key-file, or set {VARIABLE}")
    return Key(secret)


def write_key(file: Path) -> None:
    """Write a new random key of 256 bits, readable by its owner alone.

    Raises:
        DataError: the file exists, or can't be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise DataError(f"{file}: exists; a key is never replaced, give another name") from error
    except OSError as error:
        raise DataError(f"{file}: no key could be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as out:
        out.write(secrets.token_hex(32) + "\n")
