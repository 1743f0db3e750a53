"""What is acknowledged is kept; each set of instances is handled once; late ones and disks that are full."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from unimedvl.hospital.disk import NoRoom
from unimedvl.hospital.error import HospitalError
from unimedvl.hospital.inbox import Inbox, Result


@pytest.fixture
def inbox(tmp_path: Path):
    with Inbox(tmp_path / "inbox", owner=True) as opened:
        yield opened


def ready(inbox: Inbox):
    inbox.settle(0)
    return inbox.claim()


def handled(inbox: Inbox, late: str = "ignore", results: int = 1):
    """Take what is ready through all states; returns the pass as it was claimed."""
    claimed = ready(inbox)
    inbox.decide(claimed.id, late)
    folder = inbox.results_folder(claimed.id)
    made = [Result(folder / f"{n}.dcm", "pacs", f"9.{claimed.id}.{n}") for n in range(results)]
    for result in made:
        result.file.write_bytes(b"result")
    inbox.made(claimed.id, made)
    for result in inbox.unsent(claimed.id):
        inbox.stored(claimed.id, result)
    inbox.finish(claimed.id)
    return claimed


def states(inbox: Inbox) -> list[str]:
    return [p.state for p in inbox.passes()]


def test_a_study_is_ready_when_nothing_came_for_a_while(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    inbox.settle(60)
    assert inbox.claim() is None
    claimed = ready(inbox)
    assert (claimed.study, claimed.state, claimed.instances) == ("1", "running", 1)
    assert [f.read_bytes() for f in claimed.files] == [b"a"]
    assert inbox.claim() is None


def test_an_instance_that_comes_again_is_taken_once(inbox: Inbox) -> None:
    assert inbox.receive(b"a", "1.1", "1") == "kept"
    assert inbox.receive(b"b", "1.1", "1") == "duplicate"
    assert [f.read_bytes() for f in ready(inbox).files] == [b"a"]


def test_an_instance_of_another_study_under_a_known_uid_is_not_acknowledged(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    with pytest.raises(HospitalError, match="that of an instance of another study"):
        inbox.receive(b"a", "1.1", "2")
    assert len(inbox.passes()) == 1


def test_the_same_instance_from_many_at_once_is_taken_once(inbox: Inbox) -> None:
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(inbox.receive(b"a", "1.1", "1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["duplicate"] * 7 + ["kept"]


def test_an_instance_that_comes_before_the_run_joins_it(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    inbox.settle(0)
    inbox.receive(b"b", "1.2", "1")
    assert inbox.claim() is None, "it waits again"
    assert len(ready(inbox).files) == 2


@pytest.mark.parametrize("moment", ["running", "done"])
def test_a_late_instance_is_kept_and_not_handled_where_the_rule_ignores_it(inbox: Inbox, moment: str) -> None:
    inbox.receive(b"a", "1.1", "1")
    if moment == "done":
        handled(inbox, "ignore")
    else:
        inbox.decide(ready(inbox).id, "ignore")
    assert inbox.receive(b"b", "1.2", "1") == "late"
    assert ready(inbox) is None
    assert inbox.counts()["late"] == 1


def test_a_late_instance_makes_a_new_pass_over_the_whole_study_where_the_rule_says_so(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    handled(inbox, "again")
    assert inbox.receive(b"b", "1.2", "1") == "kept"
    assert sorted(f.read_bytes() for f in handled(inbox, "again").files) == [b"a", b"b"]
    assert states(inbox) == ["done", "done"]


@pytest.mark.parametrize(("late", "passes"), [("again", 2), ("ignore", 1)])
def test_what_comes_before_the_rule_is_known_waits_for_it(inbox: Inbox, late: str, passes: int) -> None:
    inbox.receive(b"a", "1.1", "1")
    claimed = ready(inbox)
    assert inbox.receive(b"b", "1.2", "1") == "kept"
    inbox.decide(claimed.id, late)
    assert len(inbox.passes()) == passes
    assert inbox.counts()["late"] == 2 - passes


@pytest.mark.parametrize("end", ["killed", "stopped", "postponed", "failed"])
@pytest.mark.parametrize("decided", [True, False])
def test_what_came_during_a_run_that_made_nothing_is_handled_with_the_next(
    inbox: Inbox, end: str, decided: bool
) -> None:
    inbox.receive(b"a", "1.1", "1")
    claimed = ready(inbox)
    if decided:
        inbox.decide(claimed.id, "ignore")
    inbox.receive(b"b", "1.2", "1")
    if end == "killed":
        inbox.recover(10)
    elif end == "stopped":
        inbox.give_back(claimed.id)
    elif end == "postponed":
        inbox.postpone(claimed.id, "busy", 0)
    else:
        inbox.fail(claimed.id, "no reason")
        inbox.retry()
    assert inbox.claim() is None, "it waits again"
    again = ready(inbox)
    assert (again.id, len(again.files)) == (claimed.id, 2)
    assert inbox.counts()["late"] == 0


def test_a_set_of_instances_is_handled_once_even_when_its_files_are_gone(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    handled(inbox)
    inbox.clean(0, 0)
    assert not list((inbox.folder / "studies").rglob("*.dcm")) + list((inbox.folder / "results").iterdir())
    assert inbox.receive(b"a", "1.1", "1") == "duplicate"
    assert ready(inbox) is None


def test_files_are_kept_as_long_as_told(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    inbox.clean(0, 0)
    handled(inbox)
    inbox.clean(3600, None)
    assert len(list((inbox.folder / "studies").rglob("*.dcm"))) == 1
    assert len(list((inbox.folder / "results").iterdir())) == 1


def test_own_results_that_come_back_are_not_kept(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    claimed = handled(inbox)
    assert inbox.receive(b"result", f"9.{claimed.id}.0", "1") == "own"
    assert inbox.receive(b"other", "7.7", "1", own=True) == "own"
    assert ready(inbox) is None
    assert inbox.counts()["late"] == 0


def test_results_are_sent_after_a_restart_and_not_made_again(tmp_path: Path) -> None:
    with Inbox(tmp_path, owner=True) as before:
        before.receive(b"a", "1.1", "1")
        claimed = ready(before)
        folder = before.results_folder(claimed.id)
        results = [Result(folder / name, "pacs", name) for name in ("x", "y")]
        for result in results:
            result.file.write_bytes(b"")
        before.made(claimed.id, results)
        before.stored(claimed.id, results[0])
    with Inbox(tmp_path, owner=True) as after:
        after.recover(10)
        again = after.claim()
        assert (again.id, again.state) == (claimed.id, "made")
        assert [r.uid for r in after.unsent(again.id)] == ["y"]


def test_a_study_that_ends_the_program_each_time_is_set_aside(tmp_path: Path) -> None:
    for _ in range(3):
        with Inbox(tmp_path, owner=True) as inbox:
            inbox.recover(3)
            inbox.receive(b"a", "1.1", "1")
            assert ready(inbox) is not None
    with Inbox(tmp_path, owner=True) as inbox:
        inbox.recover(3)
        assert inbox.claim() is None
        assert "the program ended while it ran, 3 times" in inbox.passes("failed")[0].reason


def test_files_without_a_row_are_deleted_at_the_start(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    (kept,) = (inbox.folder / "studies").rglob("*.dcm")
    for name in ("stray.dcm", "cut.dcm.part"):
        (kept.parent / name).write_bytes(b"")
    inbox.recover(10)
    assert list(kept.parent.iterdir()) == [kept]


def test_what_failed_goes_on_from_where_it_failed(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    inbox.fail(ready(inbox).id, "no reason")
    inbox.receive(b"b", "1.2", "1")
    assert ready(inbox) is None
    assert inbox.retry() == [1]
    assert len(ready(inbox).files) == 2, "what came meanwhile is handled with it"
    folder = inbox.results_folder(1)
    inbox.made(1, [Result(folder / "x", "pacs", "x")])
    inbox.fail(1, "refused")
    inbox.retry([1])
    assert inbox.claim().state == "made"
    with pytest.raises(HospitalError, match="pass 7 has not failed"):
        inbox.retry([7])


def test_a_postponed_pass_waits(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.1", "1")
    inbox.postpone(ready(inbox).id, "busy", 60)
    assert inbox.claim() is None
    (waiting,) = inbox.passes("ready")
    assert (waiting.attempts, waiting.reason) == (1, "busy")
    inbox.postpone(1, "busy", 0)
    assert inbox.claim().attempts == 2


def test_on_a_disk_without_room_nothing_is_kept_and_it_is_said(tmp_path: Path) -> None:
    with Inbox(tmp_path, owner=True, reserve=2**60) as inbox:
        with pytest.raises(NoRoom):
            inbox.receive(b"a", "1.1", "1")
        assert not inbox.passes() + list((tmp_path / "studies").rglob("*.dcm*"))
        inbox.reserve = 0
        assert inbox.receive(b"a", "1.1", "1") == "kept"


def test_a_write_that_fails_leaves_nothing(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NoRoom):
            inbox.receive(b"a", "1.1", "1")
    assert not inbox.passes() + list((inbox.folder / "studies").rglob("*.dcm*"))
    assert inbox.receive(b"a", "1.1", "1") == "kept"


def test_a_database_without_room_refuses_and_keeps_nothing_of_what_it_refused(inbox: Inbox) -> None:
    (pages,) = inbox._ledger.one("PRAGMA page_count")
    inbox._ledger.do(f"PRAGMA max_page_count = {pages + 2}")
    kept = 0
    with pytest.raises(NoRoom):
        for kept in range(2000):
            inbox.receive(b"", f"1.{kept}", "1" * 64)
    assert len(list((inbox.folder / "studies").rglob("*.dcm*"))) == kept
    inbox._ledger.do(f"PRAGMA max_page_count = {pages + 100}")
    assert inbox.receive(b"", f"1.{kept}", "1" * 64) == "kept"
    assert len(ready(inbox).files) == kept + 1


def test_names_of_files_tell_nothing_and_others_may_not_look(inbox: Inbox) -> None:
    inbox.receive(b"a", "1.2.3/../../x", "1.2.3")
    (file,) = (inbox.folder / "studies").rglob("*.dcm")
    assert file.parent.parent == inbox.folder / "studies"
    assert "1.2.3" not in str(file.relative_to(inbox.folder))
    assert not inbox.folder.stat().st_mode & 0o077


def test_one_owner_at_a_time_and_others_may_look(inbox: Inbox) -> None:
    with pytest.raises(HospitalError, match="another listener uses this folder"):
        Inbox(inbox.folder, owner=True)
    with Inbox(inbox.folder) as looking:
        assert looking.counts()["done"] == 0


def test_a_folder_without_an_inbox_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HospitalError, match="holds no inbox"):
        Inbox(tmp_path)
    shutil.copy(__file__, tmp_path / "inbox.sqlite")
    with pytest.raises(HospitalError, match="can't be used as an inbox"):
        Inbox(tmp_path, owner=True)
