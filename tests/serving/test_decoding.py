"""A process that decodes is bounded, replaced when it fails, and leaves the server as it was."""

from __future__ import annotations

import io
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as PillowImage

from unimedvl.imaging import ReadOptions
from unimedvl.serving import decoding
from unimedvl.serving.decoding import Decoders
from unimedvl.serving.limits import Limits
from unimedvl.serving.uploads import Refused

MIB = 2**20
LIMITS = Limits(decode_seconds=5, decode_bytes=1024 * MIB, decoders=2)


def png(side: int = 8, value: int = 7) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(np.full((side, side), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def decoders():
    with Decoders(LIMITS) as decoders:
        yield decoders


def process(decoders: Decoders):
    """The process that reads next; started, and put back."""
    decoders.start()
    return next(p for p in reversed(decoders._idle.queue) if p is not None)


def test_many_threads_get_their_own_images(decoders):
    def read(value: int) -> int:
        image = decoders.read(png(value=value), f"image {value}", ReadOptions())
        assert image.source == f"image {value}"
        return round(float(image.pixels[0, 0, 0]) * 255)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(40))) == list(range(40))
    assert sum(p is not None for p in decoders._idle.queue) <= LIMITS.decoders


def test_one_that_crashes_is_replaced(decoders):
    victim = process(decoders)
    os.kill(victim._process.pid, signal.SIGKILL)
    victim._process.wait()
    with pytest.raises(Refused, match="scan: could not be decoded") as caught:
        decoders.read(png(), "scan", ReadOptions())
    assert caught.value.status == 422
    assert decoders.read(png(), "scan", ReadOptions()).width == 8
    assert victim not in decoders._idle.queue


def test_one_that_takes_too_long_is_ended():
    with Decoders(Limits(decode_seconds=1, decoders=1)) as decoders:
        stopped = process(decoders)
        os.kill(stopped._process.pid, signal.SIGSTOP)  # as a decoder that never comes back
        with pytest.raises(Refused, match="took over 1 seconds") as caught:
            decoders.read(png(), "scan", ReadOptions())
        assert caught.value.status == 422 and stopped._process.poll() == -signal.SIGKILL
        assert decoders.read(png(), "scan", ReadOptions()).width == 8


def test_memory_is_bounded_and_what_is_used_up_is_given_back():
    limits = Limits(decode_bytes=512 * MIB, decoders=1, decode_seconds=60)
    with Decoders(limits) as decoders:
        first = process(decoders)
        with pytest.raises(Refused, match="memory") as caught:
            decoders.read(png(side=5000), "scan", ReadOptions())
        assert caught.value.status == 413
        assert decoders.read(png(), "scan", ReadOptions()).width == 8
        assert decoders.read(png(side=2500), "scan", ReadOptions()).width == 2500
        assert decoders.read(png(), "scan", ReadOptions()).width == 8
        assert first not in decoders._idle.queue and first._process.poll() is not None


def test_what_the_server_itself_holds_wears_no_process_out():
    limits = Limits(decode_bytes=512 * MIB, decoders=1)
    held = np.ones(400 * MIB, np.uint8)
    with Decoders(limits) as decoders:
        first = process(decoders)
        assert decoders.read(png(), "scan", ReadOptions()).width == 8
        assert process(decoders) is first and held[-1]


def test_images_that_are_held_have_a_bound_and_are_counted_until_nobody_has_them():
    with Decoders(Limits(images_bytes=3000, decoders=1)) as decoders:
        first, second = (decoders.read(png(side=11), "scan", ReadOptions()) for _ in range(2))
        assert decoders.held == 2 * 11 * 11 * 12
        with pytest.raises(Refused, match="as many images as it has room for") as caught:
            decoders.read(png(side=8), "scan", ReadOptions())
        assert caught.value.status == 503
        part = first.pixels[2:4]  # as a crop keeps the whole
        del first, second
        assert decoders.held == 11 * 11 * 12
        del part
        assert decoders.held == 0
        assert decoders.read(png(side=11), "scan", ReadOptions()).width == 11


def test_it_has_neither_the_servers_environment_nor_files_to_write(monkeypatch, tmp_path):
    monkeypatch.setenv("UNIMEDVL_API_KEYS", "secret")
    with Decoders(LIMITS) as decoders:
        pid = process(decoders)._process.pid
        decoders.read(png(), "scan", ReadOptions())
        with open(f"/proc/{pid}/environ", "rb") as stream:
            assert b"UNIMEDVL" not in stream.read()
        with open(f"/proc/{pid}/limits") as stream:
            limits = {line[:25].strip(): line[25:].split()[1] for line in stream.readlines()[1:]}
        assert (limits["Max file size"], limits["Max core file size"]) == ("0", "0")
        assert limits["Max address space"] == str(LIMITS.decode_bytes)
        assert os.getsid(pid) != os.getsid(0)  # an interrupt at the terminal is the server's to handle


def test_an_answer_that_is_none_is_not_believed(decoders, monkeypatch):
    for lie in ({"shape": [8, 9], "sha256": "", "kind": "png", "details": {}}, {"shape": "no"}, {}, {"status": "x"}):
        monkeypatch.setattr(decoding, "_read", lambda stream, most, lie=lie: (lie, np.zeros(768, np.uint8)))
        with pytest.raises(Refused, match="its decoder failed on it"):
            decoders.read(png(), "scan", ReadOptions())
    monkeypatch.undo()
    assert decoders.read(png(), "scan", ReadOptions()).width == 8
    with pytest.raises(ValueError, match="a message of"):
        decoding._read(io.BytesIO(decoding._HEAD.pack(10, 2**60)), 100)


def test_whoever_waits_too_long_is_told(monkeypatch):
    limits = Limits(decode_seconds=0.2, decoders=1)
    decoders = Decoders(limits)
    decoders._idle.get()  # busy
    with pytest.raises(Refused, match="try again later") as caught:
        decoders.read(png(), "scan", ReadOptions())
    assert caught.value.status == 503


def test_one_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setattr(decoding, "_PROGRAM", "raise SystemExit(3)")
    with Decoders(LIMITS) as decoders, pytest.raises(RuntimeError, match="did not start"):
        decoders.read(png(), "scan", ReadOptions())


def test_closing_ends_the_processes():
    decoders = Decoders(LIMITS)
    one = process(decoders)
    threading.Thread(target=decoders.close).start()
    assert one._process.wait(timeout=10) is not None
    with pytest.raises(Refused, match="shutting down"):
        decoders.read(png(), "scan", ReadOptions())
