"""What the parent of several replicas makes of their news. Whole replicas are started in tests/cli/test_serve.py."""

from __future__ import annotations

import multiprocessing
import socket
import sys
import time
from contextlib import nullcontext

import pytest

from unimedvl.serving.replicas import ReplicaFailed, Replicas
from unimedvl.serving.settings import ServerSettings


def heard(replicas: Replicas, number: int, word: str, text: str = "") -> None:
    place = replicas._places[number]
    place.news, theirs = multiprocessing.Pipe(duplex=False)
    with theirs:
        theirs.send((word, text, False))
        replicas._hear(place)


def test_only_a_model_that_was_never_loaded_ends_the_server(caplog):
    said = []
    with socket.socket() as listening:
        replicas = Replicas(ServerSettings(replicas=2), listening, said.append)
        heard(replicas, 0, "ready")
        heard(replicas, 1, "ready")
        assert said == ["ready, 2 replicas"]
        heard(replicas, 1, "failed", "no memory is left")  # one that was started in the place of another
        assert "replica 1 could not be loaded: no memory is left" in caplog.text
        fresh = Replicas(ServerSettings(replicas=2), listening, said.append)
        heard(fresh, 0, "ready")
        with pytest.raises(ReplicaFailed, match="no such model"):
            heard(fresh, 1, "failed", "no such model")


@pytest.mark.parametrize("before", [False, True])
def test_replicas_that_never_answer_end_the_server(before, monkeypatch, tmp_path):
    """Where one answered before, those that die are replaced for ever."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # as `run` sets it
    with socket.socket() as listening:
        replicas = Replicas(ServerSettings(replicas=2), listening, lambda line: None)
        if before:
            heard(replicas, 1, "ready")
        place = replicas._places[0]
        place.since, place.deaths = time.monotonic() - 100, 4
        place.process = multiprocessing.get_context("spawn").Process(target=sys.exit, args=(7,))
        place.process.start()
        with nullcontext() if before else pytest.raises(ReplicaFailed, match="exit status 7"):
            replicas._died(place)
