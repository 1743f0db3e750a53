"""Keys are kept as hashes, told apart in constant time, and taken away without a restart."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unimedvl.cli.main import main
from unimedvl.data.error import DataError
from unimedvl.serving import keys as keys_module
from unimedvl.serving.keys import (
    Keys,
    KeysError,
    add_key,
    check_exposure,
    hash_of,
    load_keys,
    new_key,
    read_file,
    remove_key,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def bearer(key: str) -> str:
    return f"Bearer {key}"


def test_a_key_is_256_random_bits_and_its_file_holds_only_the_hash(file):
    key = add_key(file, "ward-3")
    assert len(base64.urlsafe_b64decode(key.removeprefix("umv_") + "=")) == 32
    assert file.read_text() == f"ward-3:{hashlib.sha256(key.encode()).hexdigest()}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text() and add_key(file, "ward-4") != key


def test_who_asks_is_told_by_bearer_and_by_a_browsers_password(file):
    key = add_key(file, "ward-3")
    keys = Keys.from_file(file)
    basic = "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()
    for right in (bearer(key), f"bearer   {key} ", basic):
        assert keys.who(right) == "ward-3"
    wrong = [None, "", key, "Bearer", "Bearer ", bearer(key[:-1]), bearer(key + "a"), bearer(key.upper()),
             bearer(hash_of(key)), "Basic " + key, "Basic " + base64.b64encode(key.encode()).decode(),
             bearer("x" * 100_000), "Basic " + "A" * 100_000, bearer("\udcff\x00é"), "Basic éé", "Digest " + key]
    assert [keys.who(header) for header in wrong] == [None] * len(wrong)


def test_every_key_is_compared_whichever_fits(file, monkeypatch):
    own = [add_key(file, f"k{n}") for n in range(3)]
    keys, seen = Keys.from_file(file), []
    real = keys_module.hmac.compare_digest
    monkeypatch.setattr(keys_module.hmac, "compare_digest", lambda a, b: seen.append(1) or real(a, b))
    assert [keys.owner(key) for key in (*own, "other")] == ["k0", "k1", "k2", None]
    assert len(seen) == 12


def test_a_running_server_reads_the_file_again(file, caplog):
    first, second = add_key(file, "first"), add_key(file, "second")
    keys = Keys.from_file(file)
    third = add_key(file, "third")
    assert keys.owner(third) == "third" and len(keys) == 3
    remove_key(file, "first")
    assert keys.owner(first) is None and keys.owner(second) == "second"
    file.write_text(f"{Keys.from_file(file)._entries[0]}\nsecond {hash_of(second)}x\n")
    assert keys.owner(second) == "second" and keys.owner(third) is None
    assert "line 2 is not name:hash" in caplog.text and hash_of(second) not in caplog.text
    file.unlink()
    assert keys.owner(second) is None and len(keys) == 0
    assert "its keys are refused" in caplog.text
    assert keys.owner(add_key(file, "again")) == "again"


def test_keys_of_the_environment(file):
    key, entry = new_key("ci")
    other = "a key that somebody chose"
    keys = Keys.from_environment({"UNIMEDVL_API_KEYS": f" {entry},{hash_of(other)}\n"})
    assert keys.owner(key) == "ci" and keys.owner(other) == f"key-{hash_of(other)[:8]}"
    third = add_key(file, "third")
    both = load_keys(file, {"UNIMEDVL_API_KEYS": str(entry)})
    assert (both.owner(key), both.owner(third)) == ("ci", "third")
    with pytest.raises(KeysError, match="entry 2 is no SHA-256 hash") as caught:
        Keys.from_environment({"UNIMEDVL_API_KEYS": f"{entry} {key}"})
    assert key not in str(caught.value)


def test_without_keys_the_server_is_open_and_with_an_empty_file_it_does_not_start(file):
    assert load_keys(None, {}) is None
    file.write_text("# nobody yet\n\n")
    with pytest.raises(KeysError, match="holds no keys; make one by"):
        load_keys(file, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", "", "localhost.example.org"])
def test_an_open_server_only_listens_where_nobody_else_reaches_it(file, host):
    with pytest.raises(KeysError, match="there are no keys; give keys=FILE"):
        check_exposure(host, None, False)
    check_exposure(host, None, True)
    add_key(file, "me")
    check_exposure(host, Keys.from_file(file), False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback_needs_no_key(host):
    check_exposure(host, None, False)


@pytest.mark.parametrize("text", ["name\n", "name:abc\n", ":" + "0" * 64, "a b:" + "0" * 64, "\udcff"])
def test_what_is_no_entry_is_named_by_its_line_alone(file, text):
    file.write_bytes(b"# first line\n" + text.encode("utf-8", "surrogateescape"))
    with pytest.raises(KeysError, match="line 2 is not name:hash|no text") as caught:
        read_file(file)
    assert "0000" not in str(caught.value)


def test_names_are_taken_once_and_are_names(file):
    add_key(file, "ward-3")
    before = file.read_bytes()
    for name, problem in (("ward-3", "has a key"), ("", "is no name"), ("a:b", "is no name"), ("a\nb", "is no name")):
        with pytest.raises(KeysError, match=problem):
            add_key(file, name)
    with pytest.raises(KeysError, match="ward-9 has no key; there are ward-3"):
        remove_key(file, "ward-9")
    assert file.read_bytes() == before


def test_comments_and_the_mode_outlive_a_change(file):
    file.write_text("# of the ward\nold:" + "a" * 64)
    file.chmod(0o640)
    add_key(file, "new")
    remove_key(file, "old")
    assert file.read_text().startswith("# of the ward\nnew:")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(file.parent) == ["keys.txt"]


def test_a_full_disk_leaves_the_file_as_it_was(file, room):
    with room(10), pytest.raises(DataError, match="too large"):
        add_key(file, "new")
    assert not file.exists()
    key = add_key(file, "kept")
    before = file.read_bytes()
    with room(80), pytest.raises(DataError, match="too large"):
        add_key(file, "next")
    file.write_text("# " + "x" * 100 + "\n" + before.decode())
    with room(50), pytest.raises(DataError, match="too large"):
        remove_key(file, "kept")
    assert Keys.from_file(file).owner(key) == "kept" and os.listdir(file.parent) == ["keys.txt"]


def test_keys_may_be_asked_for_while_the_file_changes(file):
    key = add_key(file, "stays")
    keys, done, wrong = Keys.from_file(file), threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            if keys.owner(key) != "stays":
                wrong.append(1)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        for n in range(20):
            add_key(file, f"k{n}")
            remove_key(file, f"k{n}")
        done.set()
        for one in asking:
            one.result()
    assert wrong == []


def test_the_command_prints_a_key_once(file, capsys):
    assert main(["keys", "add", "ward-3", "--file", str(file)]) == 0
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert Keys.from_file(file).owner(key) == "ward-3" and key not in shown.err
    assert main(["keys", "list", "--file", str(file)]) == 0
    assert capsys.readouterr().out.split() == ["ward-3", hash_of(key)[:12]]
    assert main(["keys", "add", "ward-3", "--file", str(file)]) == 2
    assert "has a key" in capsys.readouterr().err
    assert main(["keys", "remove", "ward-3", "--file", str(file)]) == 0
    assert main(["keys", "list", "--file", str(file), "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["keys", "list", "--file", str(file.with_name("none"))]) == 2
    assert capsys.readouterr().err.strip().endswith("none: No such file or directory")


def test_without_a_file_the_command_shows_what_the_environment_gets(capsys):
    assert main(["keys", "add", "ci"]) == 0
    shown = capsys.readouterr()
    entry = shown.err.partition("UNIMEDVL_API_KEYS=")[2].strip()
    assert Keys.from_environment({"UNIMEDVL_API_KEYS": entry}).owner(shown.out.strip()) == "ci"
