"""What the server keeps for a tab, for how long, and for whom."""

from __future__ import annotations

from datetime import datetime

import pytest

from unimedvl.serving.page.session import IDLE, LEFT, MOST_RESULTS, Made, SessionLost, Sessions

TOKEN, OTHER = "0123456789abcdef" * 2, "f" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock):
    made = Sessions(1000, clock=clock)
    yield made
    made.close()


def made(size: int = 0) -> Made:
    return Made("ask", "what?", datetime(2026, 1, 1), 1.0, png=b"x" * size)


def test_a_tab_finds_its_session_again_and_nobody_elses(sessions):
    session = sessions.open(TOKEN, "anna")
    assert sessions.open(TOKEN, "anna") is session
    assert sessions.open(TOKEN, "ben") is not session
    with pytest.raises(SessionLost):
        sessions.get(OTHER, "anna")


@pytest.mark.parametrize("token", ["", "short", "../../etc/passwd", "Z" * 32, "0" * 31, "0" * 33])
def test_a_token_that_no_browser_made_opens_nothing(sessions, token):
    with pytest.raises(SessionLost):
        sessions.open(token, None)
    assert len(sessions) == 0


def test_a_result_is_found_by_its_secret_and_by_its_owner_alone(sessions):
    one = made()
    sessions.open(TOKEN, "anna").keep(one)
    assert sessions.result(one.id, "anna") is one
    for name, who in ((one.id, "ben"), (one.id, None), ("nothing", "anna"), ("ü", "anna")):
        with pytest.raises(SessionLost):
            sessions.result(name, who)


def test_a_session_is_forgotten_after_a_while_without_use(sessions, clock):
    session = sessions.open(TOKEN, None)
    session.keep(made())
    clock.now = IDLE
    sessions.get(TOKEN, None)
    clock.now = 2 * IDLE
    sessions.sweep()
    assert len(sessions) == 1
    clock.now += 1
    sessions.sweep()
    assert len(sessions) == 0 and session.made == []


def test_a_tab_that_was_left_is_forgotten_soon_unless_it_comes_back(sessions, clock):
    sessions.open(TOKEN, None)
    sessions.open(OTHER, None)
    sessions.leave(TOKEN, None)
    sessions.leave(OTHER, None)
    sessions.open(OTHER, None)  # a reload
    clock.now = LEFT + 1
    sessions.sweep()
    with pytest.raises(SessionLost):
        sessions.get(TOKEN, None)
    sessions.get(OTHER, None)


def test_the_session_unused_for_longest_makes_room(sessions):
    for number in range(5):
        sessions.open(f"{number:032x}", None).keep(made(300))
    sessions.get(f"{0:032x}", None)
    sessions.make_room()
    kept = [n for n in range(5) if (None, f"{n:032x}") in sessions._sessions]
    assert kept == [0, 3, 4]


def test_the_results_of_a_tab_are_bounded(sessions):
    session = sessions.open(TOKEN, None)
    everything = [made() for _ in range(MOST_RESULTS + 3)]
    for one in everything:
        session.keep(one)
    assert session.made == everything[3:]


def test_what_a_session_forgets_it_also_stops(sessions):
    class Run:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    session = sessions.open(TOKEN, None)
    session.run = Run()
    sessions.close()
    assert session.run.cancelled
