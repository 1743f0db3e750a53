"""Loads the model once; then each line of standard input is a listener to be started, or one to wait for.

A listener is a fork that runs the real command. It may be told to kill itself at a point of its work, as the kernel
would: {"arguments": [...], "log": FILE, "kill": ["Inbox.made", "before", 1]}. {"wait": PID} gives the wait status.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import wraps

import fhir.resources.R4B.bundle
import highdicom
import torch

from unimedvl import UniMedVL
from unimedvl.cli.main import main
from unimedvl.cli.options import ModelOptions
from unimedvl.hospital import dicomweb, listener, worker
from unimedvl.hospital.inbox import Inbox

PLACES = {"Inbox": Inbox, "Worker": worker.Worker, "Listener": listener.Listener, "dicomweb": dicomweb}


def killing(place: str, when: str, count: int) -> None:
    """Make a method end the process, before or after its n-th call."""
    owner, name = PLACES[place.partition(".")[0]], place.partition(".")[2]
    method, calls = getattr(owner, name), [0]

    @wraps(method)
    def killed(*arguments, **options):
        calls[0] += 1
        if calls[0] == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*arguments, **options)
        if name == "claim" and result is None:  # nothing waited: no pass was claimed
            calls[0] -= 1
            return result
        if calls[0] == count and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killed)


def listen(order: dict, model: UniMedVL) -> None:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    ModelOptions.load = lambda self, **_: model
    if order.get("kill"):
        killing(*order["kill"])
    os._exit(main(order["arguments"]))


IMPORTED = (fhir, highdicom)  # once for all forks; the command imports them when it needs them

if __name__ == "__main__":
    torch.set_num_threads(1)  # a fork has no other threads
    loaded = UniMedVL.load(pack=False)
    loaded.weights  # noqa: B018 - hashed once for all
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitpid(order["wait"], 0)[1]
        else:
            answer = os.fork()
            if not answer:
                listen(order, loaded)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
