"""Processes that decode what strangers send, so that no file can take the server's memory, time or life.

Decoders of images are large libraries in C. Here they run in processes of their own, with a bound on memory (where the
system knows one: not on Windows), a bound on time, after which the process is ended, and without the server's
environment, its standard error, files to write to or core dumps. What comes back is JSON and plain numbers, never a
pickle, so that a process that was taken over has nothing to say that would be run. It still is a process of the
server's user: what that user may read, it may read.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unimedvl.imaging import Image, ReadOptions
from unimedvl.imaging.image import Original
from unimedvl.serving.limits import Limits
from unimedvl.serving.uploads import Refused, read_within

_HEAD = struct.Struct(">IQ")  # length of the JSON and of what follows it
_LONGEST = 2**20  # bytes of the JSON
_START = 120  # seconds for a process to start in, on a machine that is busy
_PIXEL = 12  # bytes of one pixel: three floats
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_WORN = "worn"  # a detail by which a process says that it should be ended
_PROGRAM = "from unimedvl.serving.decoding import work; work()"


class Decoders:
    """A few processes that read images, started when they are first needed. Of any threads; a context manager."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()  # None: one that is not started
        for _ in range(limits.decoders):
            self._idle.put(None)
        self._closed = False
        self._held, self._counting = 0, threading.Lock()

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start one process, so that the first image doesn't wait for it."""
        process = self._idle.get() or _Process(self._limits)
        try:
            process.wait()
        finally:
            self._idle.put(process)

    @property
    def held(self) -> int:
        """Bytes of the images that were read here and that somebody still has."""
        return self._held

    def read(self, data: bytes, name: str, options: ReadOptions) -> Image:
        """An image, decoded within the limits. name: of messages.

        Raises:
            Refused: it can't be read, takes too long or too much; 503 where all processes stay busy, or the images
                that are held have no room for another.
        """
        image = self._read(data, name, options)
        owner = image.pixels.base  # of which every view keeps hold
        with self._counting:
            if self._held + owner.nbytes > self._limits.images_bytes:
                raise Refused(503, "the server holds as many images as it has room for; try again later")
            self._held += owner.nbytes
        weakref.finalize(owner, self._release, owner.nbytes)
        return image

    def _release(self, count: int) -> None:
        with self._counting:
            self._held -= count

    def _read(self, data: bytes, name: str, options: ReadOptions) -> Image:
        try:
            process = self._idle.get(timeout=2 * self._limits.decode_seconds)
        except queue.Empty:
            raise Refused(503, "the server reads as many images as it can; try again later") from None
        try:
            if self._closed:
                raise Refused(503, "the server is shutting down")
            process = process or _Process(self._limits)
            return process.read(data, name, options, self._limits.decode_seconds)
        finally:
            if process is not None and (self._closed or not process.usable):
                process.end()
                process = None
            self._idle.put(process)

    def close(self) -> None:
        """End the processes; those that read are ended when they are done."""
        self._closed = True
        for _ in range(self._limits.decoders):
            with suppress(queue.Empty):
                process = self._idle.get_nowait()
                if process is not None:
                    process.end()
        self._idle.put(None)  # whoever waits is told


class _Process:
    """One process. usable: it may read another image."""

    def __init__(self, limits: Limits) -> None:
        root = str(Path(__file__).parents[2])  # where the package is, installed or not
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        environment |= {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment, close_fds=True, start_new_session=True,
        )  # fmt: skip
        self._most = _PIXEL * limits.pixels
        self.usable, self._ready = True, False
        with suppress(OSError):  # one that fails at once is found out when it is waited for
            _write(self._process.stdin, limits.model_dump())

    def wait(self) -> None:
        """Until it has started. Raises RuntimeError: it doesn't."""
        if self._ready:
            return
        timer = threading.Timer(_START, self._process.kill)
        timer.start()
        try:
            _read(self._process.stdout, 0)
        except (OSError, EOFError, ValueError) as error:
            self.usable = False
            raise RuntimeError("a process that reads images did not start") from error
        finally:
            timer.cancel()
        self._ready = True

    def read(self, data: bytes, name: str, options: ReadOptions, seconds: float) -> Image:
        self.wait()
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            _write(self._process.stdin, {"name": name, "options": asdict(options)}, data)
            image = _image(name, *_read(self._process.stdout, self._most))
        except Refused:
            raise
        except (OSError, EOFError, ValueError, KeyError, TypeError):  # it is gone, or says what it never would
            self.usable = False
            problem = "could not be decoded; its decoder failed on it"
            if late.is_set():
                problem = f"took over {seconds:g} seconds to read; it is damaged or too large"
            raise Refused(422, f"{name}: {problem}") from None
        except BaseException:  # an interrupt: what the process says next would be of another image
            self.usable = False
            raise
        finally:
            timer.cancel()
            self.usable = self.usable and not late.is_set()
        self.usable = self.usable and not image.details.pop(_WORN, False)
        return image

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()


def _image(name: str, answer: dict[str, Any], pixels: np.ndarray) -> Image:
    """What a process answered. Raises Refused; ValueError, KeyError or TypeError where it is no answer."""
    if "status" in answer:
        raise Refused(int(answer["status"]), str(answer["sentence"]))
    height, width = (int(side) for side in answer["shape"])
    array = pixels.view(np.float32).reshape(height, width, 3)
    kind, sha256 = str(answer["kind"]), str(answer["sha256"])
    # Without its bytes: manifests name it by its hash, and no library takes the file apart in this process.
    return Image(array, name, sha256, kind, dict(answer["details"]), Original(kind, sha256, b""))


def work() -> None:
    """What such a process does: read images from standard input until it ends."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    for reader in ("raster", "dicom", "nifti"):
        import_module(f"unimedvl.imaging.{reader}")
    with suppress(EOFError, OSError):
        limits = Limits(**_read(asked, 0)[0])
        _bound(limits.decode_bytes)
        _write(answers, {})  # it is ready
        while True:
            job, data = _read(asked, limits.file_bytes)
            _write(answers, *_answer(job, data, limits))


def _answer(job: dict[str, Any], data: np.ndarray, limits: Limits) -> tuple[dict[str, Any], bytes]:
    given = job["options"]
    given["window"] = tuple(given["window"]) if isinstance(given["window"], list) else given["window"]
    name = job["name"]
    try:
        image = read_within(data.tobytes(), name, limits, ReadOptions(**given))
        pixels = np.ascontiguousarray(image.pixels, np.float32)
        details = image.details | ({_WORN: True} if _worn(limits.decode_bytes) else {})
        told = {"shape": pixels.shape[:2], "sha256": image.sha256, "kind": image.kind, "details": details}
        return told, pixels.tobytes()
    except Refused as error:
        return {"status": error.status, "sentence": str(error)}, b""
    except MemoryError:
        return {"status": 413, "sentence": f"{name}: needs more memory than may be used for it"}, b""
    except Exception:  # noqa: BLE001 - whatever a decoder raises, of a file that was sent
        return {"status": 422, "sentence": f"{name}: can't be read; it is damaged"}, b""


def _worn(memory: int) -> bool:
    """Whether this process once held over half of what it may, which it might not give back."""
    return _most_held() > memory // 2


def _most_held() -> int:
    """Bytes of memory that this process held at its most; 0 where the system doesn't tell."""
    with suppress(OSError):  # in Linux getrusage counts what the parent held, too, from before this program began
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _bound(memory: int) -> None:
    """The process's own limits: memory in bytes, no files, no core dumps. Nothing where the system has none."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {"RLIMIT_AS": memory, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, value in wanted.items():
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def _write(stream: BinaryIO, told: dict[str, Any], data: bytes = b"") -> None:
    head = json.dumps(told).encode()
    stream.write(_HEAD.pack(len(head), len(data)))
    stream.write(head)
    stream.write(data)
    stream.flush()


def _read(stream: BinaryIO, most: int) -> tuple[dict[str, Any], np.ndarray]:
    """One message, with at most so many bytes after its JSON.

    Raises:
        EOFError: the stream ends, within one too. ValueError: it is no message.
    """
    length, size = _HEAD.unpack(_exactly(stream, _HEAD.size).tobytes())
    if length > _LONGEST or size > most:
        raise ValueError(f"a message of {length} and {size} bytes")
    return json.loads(_exactly(stream, length).tobytes()), _exactly(stream, size)


def _exactly(stream: BinaryIO, count: int) -> np.ndarray:
    """So many bytes, uint8. Raises EOFError."""
    out = np.empty(count, np.uint8)
    view, at = memoryview(out), 0
    while at < count:
        got = stream.readinto(view[at:])
        if not got:
            raise EOFError
        at += got
    return out
