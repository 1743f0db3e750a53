"""API keys: who may ask. Only their hashes are kept.

A key is 256 random bits, so nobody finds one by guessing, and its plain SHA-256 gives nothing away. Slow and salted
hashes (bcrypt, Argon2) are for passwords, which people choose and which can therefore be guessed from a list; here they
would only make every request wait, and let whoever sends wrong keys keep the server busy.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimedvl.data.whole import append_whole, written_whole

ENVIRONMENT = "UNIMEDVL_API_KEYS"
PREFIX = "umv_"  # so that a key is known for one by whoever, or whatever program, finds it in a file

_LONGEST = 512  # characters of what is sent as a key; longer is none
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger(__name__)


class KeysError(ValueError):
    """Keys that can't be read or changed; the message is one line and holds no key."""


@dataclass(frozen=True)
class Entry:
    """One key. owner: a name, letters, digits and ``._@-``. digest: its SHA-256, 64 hexadecimal digits."""

    owner: str
    digest: str

    def __str__(self) -> str:
        return f"{self.owner}:{self.digest}"


class Keys:
    """The keys of a server: those of a file, which is read anew when it changes, and those of the environment."""

    def __init__(self, entries: Sequence[Entry] = (), file: Path | None = None) -> None:
        """Raises KeysError: the file can't be read, or a line of it is no entry."""
        self._given, self._file = tuple(entries), file
        self._entries, self._seen = self._given, None
        if file is not None:
            self._seen = _state(file)
            self._entries = (*self._given, *read_file(file))

    @classmethod
    def from_file(cls, file: str | os.PathLike) -> Keys:
        """Raises KeysError as the constructor."""
        return cls(file=Path(file))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Keys:
        """The keys of UNIMEDVL_API_KEYS: ``name:hash`` or ``hash``, parted by commas or spaces.

        Raises:
            KeysError: an entry is no hash.
        """
        return cls(_from_words(environment.get(ENVIRONMENT, "")))

    def __len__(self) -> int:
        return len(self._current())

    def owner(self, key: str) -> str | None:
        """Whose key it is, or None. The time that it takes says nothing of the keys that there are."""
        if not 0 < len(key) <= _LONGEST:
            return None
        digest = hash_of(key)
        found = None
        for entry in self._current():  # to the end, whatever was found
            if hmac.compare_digest(entry.digest, digest):
                found = entry.owner
        return found

    def who(self, authorization: str | None) -> str | None:
        """Whose key an Authorization header holds, or None.

        ``Bearer KEY`` as OpenAI's clients send it; or ``Basic`` with the key as the password, which browsers ask for.
        """
        scheme, _, value = (authorization or "").strip().partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer":
            return self.owner(value)
        if scheme.lower() == "basic" and len(value) <= 2 * _LONGEST:
            try:
                _, found, key = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return None
            return self.owner(key) if found else None
        return None

    def _current(self) -> tuple[Entry, ...]:
        """The entries, read again if the file changed. What can't be read any more opens nothing."""
        if self._file is None:
            return self._entries
        state = _state(self._file)
        if state != self._seen:
            self._entries, self._seen = (*self._given, *_read_leniently(self._file)), state
            logger.info("the keys were read again: %d", len(self._entries))
        return self._entries


def load_keys(file: str | os.PathLike | None, environment: Mapping[str, str] = os.environ) -> Keys | None:
    """The keys of a file and of the environment together; None where neither is given: the server is open.

    Raises:
        KeysError: they can't be read, or there are none in them.
    """
    words = environment.get(ENVIRONMENT, "")
    if file is None and not words.strip():
        return None
    keys = Keys(_from_words(words), None if file is None else Path(file))
    if not len(keys):
        raise KeysError(f"{file}: holds no keys; make one by: unimedvl keys add NAME --file {file}")
    return keys


def check_exposure(host: str, keys: Keys | None, allow_open: bool) -> None:
    """Refuse a server that others reach and that asks for no key, unless that is wanted.

    Raises:
        KeysError: one line that says what to do.
    """
    if keys is None and not allow_open and not is_loopback(host):
        raise KeysError(
            f"host is {host}, which others reach, and there are no keys; give keys=FILE"
            " (unimedvl keys add NAME --file FILE), or open=true where something before it checks who asks"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key(owner: str) -> tuple[str, Entry]:
    """A new key, and its entry. Raises KeysError for a name that is none."""
    if not _NAME.fullmatch(owner):
        raise KeysError(f"{owner!r} is no name; give up to 64 letters, digits and ._@-, such as ward-3")
    key = PREFIX + secrets.token_urlsafe(32)
    return key, Entry(owner, hash_of(key))


def add_key(file: Path, owner: str) -> str:
    """Add a key to a file, which is made with mode 0600 where there is none; returns the key, kept nowhere.

    Raises:
        KeysError: the name is none or has a key, or the file is none of keys.
        DataError: the file can't be written; it then is as it was.
    """
    key, entry = new_key(owner)
    made = _made(file)
    if any(known.owner == owner for known in read_file(file)):
        raise KeysError(f"{file}: {owner} has a key; remove it first, or give another name, such as {owner}-2")
    try:
        append_whole(file, f"{'' if _ends_its_line(file) else chr(10)}{entry}\n".encode())
    except BaseException:
        if made:
            file.unlink(missing_ok=True)
        raise
    return key


def remove_key(file: Path, owner: str) -> None:
    """Take a name's key out of a file; comments stay, as do the file's mode and owner.

    Raises:
        KeysError: there is no such file or name.
        DataError: the file can't be written; it then is as it was.
    """
    entries = read_file(file)
    if all(entry.owner != owner for entry in entries):
        known = ", ".join(entry.owner for entry in entries) or "nobody"
        raise KeysError(f"{file}: {owner} has no key; there are {known}")
    lines = file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.strip().partition(":")[0].strip() != owner]
    was = file.stat()
    with written_whole(file) as part:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            if hasattr(os, "fchown") and os.geteuid() == 0:
                os.fchown(handle, was.st_uid, was.st_gid)
            if hasattr(os, "fchmod"):
                os.fchmod(handle, was.st_mode & 0o777)
            stream.writelines(kept)


def read_file(file: Path) -> list[Entry]:
    """The entries of a file: ``name:hash`` a line, with ``#`` before what is none.

    Raises:
        KeysError: it can't be read, or a line is no entry; the line is named by its number alone.
    """
    entries: dict[str, Entry] = {}
    for number, line in _lines(file):
        entry = _entry(line)
        if entry is None:
            raise KeysError(f"{file}: line {number} is not name:hash, as `unimedvl keys add` writes it")
        if entry.owner in entries:
            raise KeysError(f"{file}: line {number}: {entry.owner} is there twice; take one out")
        entries[entry.owner] = entry
    return list(entries.values())


def _read_leniently(file: Path) -> list[Entry]:
    """The entries of a file that a running server reads again: a line that is none is said, and opens nothing."""
    try:
        found = [(number, _entry(line)) for number, line in _lines(file)]
    except KeysError as error:
        logger.error("%s; its keys are refused until it can be read", error)
        return []
    for number, entry in found:
        if entry is None:
            logger.error("%s: line %d is not name:hash, and is passed over", file, number)
    return [entry for _, entry in found if entry is not None]


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"{file}: {getattr(error, 'strerror', None) or 'no text'}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _entry(line: str) -> Entry | None:
    owner, _, digest = line.partition(":")
    owner, digest = owner.strip(), digest.strip().lower()
    return Entry(owner, digest) if _NAME.fullmatch(owner) and _HASH.fullmatch(digest) else None


def _from_words(text: str) -> list[Entry]:
    """Entries of the environment; a bare hash is called by its first digits."""
    entries = []
    for number, word in enumerate(re.split(r"[\s,]+", text.strip()) if text.strip() else [], 1):
        entry = _entry(word if ":" in word else f"key-{word[:8].lower()}:{word}")
        if entry is None:
            raise KeysError(
                f"{ENVIRONMENT}: entry {number} is no SHA-256 hash; give name:hash as `unimedvl keys add NAME`"
                " shows it, and keep the key itself"
            )
        entries.append(entry)
    return entries


def _state(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _made(file: Path) -> bool:
    """Make a file that only its owner may read; False where there is one. Raises KeysError."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise KeysError(f"{file}: {error.strerror}") from error
    return True


def _ends_its_line(file: Path) -> bool:
    text = file.read_bytes()
    return not text or text.endswith(b"\n")
