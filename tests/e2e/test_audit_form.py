"""The raters' form in a real browser: by keyboard, on a phone, through reloads, kills and bad input."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from unimedvl.data.quality.audit import DIMENSIONS
from unimedvl.data.quality.audit_folder import Audit

DIGITS = {d.name: "1" if d.most == 1 else "4" for d in DIMENSIONS}
# Width of the page's content beyond the window's: there is nothing to scroll sideways.
_SIDEWAYS = "() => document.documentElement.scrollWidth - window.innerWidth"


def chosen(page: Page) -> dict[str, str]:
    script = "() => Object.fromEntries([...document.querySelectorAll('input:checked')].map(r => [r.name, r.value]))"
    return page.evaluate(script)


def rate(page: Page, digits: str = "".join(DIGITS.values())) -> None:
    for digit in digits:
        page.keyboard.press(digit)
    page.keyboard.press("Enter")


@pytest.fixture
def url(audit, serving):
    """Of the audit's form, served as long as the test runs and its pages are open."""
    with serving(audit) as (_, address):
        yield address


def wait_for(page: Page, url: str, path: str) -> None:
    page.wait_for_url(url.rstrip("/") + path)


def saved(folder: Path, rater: str) -> int:
    return len(Audit(folder).of(rater))


def test_all_records_are_rated_by_keyboard_alone(audit, url, open_page, shot):
    page = open_page().page
    page.goto(url)
    shot(page, "audit-start")
    page.keyboard.press("Tab")
    page.keyboard.type("ann")
    page.keyboard.press("Enter")
    wait_for(page, url, "/rate/ann/1")
    assert page.evaluate("() => document.activeElement.name") == DIMENSIONS[0].name
    shot(page, "audit-record")
    for number in range(1, 12):
        wait_for(page, url, f"/rate/ann/{number}")
        page.wait_for_load_state("load")
        rate(page)
    wait_for(page, url, "/rate/ann/done")
    shot(page, "audit-done")
    ratings = Audit(audit).ratings()
    assert len(ratings) == 11
    assert {r.score for r in ratings} == {ratings[0].score} and ratings[0].scores["completeness"] == 4


def test_keys_choose_halves_what_does_not_apply_and_go_up_and_down(audit, url, open_page, shot):
    page = open_page().page
    page.goto(url + "rate/ann/1")
    halves = next(d.name for d in DIMENSIONS if d.most == 1)
    for d in DIMENSIONS:
        page.keyboard.press("5" if d.name == halves else "n")
    assert chosen(page) == {d.name: "0.5" if d.name == halves else "" for d in DIMENSIONS}
    page.keyboard.press("ArrowUp")
    page.keyboard.press("2")
    assert chosen(page)[DIMENSIONS[-2].name] == "2"
    page.keyboard.press("ArrowUp")
    shot(page, "audit-focus", whole=False)
    page.get_by_label("Comment").click()
    page.keyboard.type("left, not 2 n right")
    page.keyboard.press("Enter")
    wait_for(page, url, "/rate/ann/2")
    page.go_back()
    wait_for(page, url, "/rate/ann/1")
    assert chosen(page)[DIMENSIONS[-2].name] == "2"
    expect(page.get_by_label("Comment")).to_have_value("left, not 2 n right")
    expect(page.locator("#state")).to_have_text("Saved; saving again replaces it.")


def test_a_reload_in_the_middle_finds_what_was_saved_and_what_was_chosen(audit, url, open_page, shot):
    page = open_page().page
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(url + "rate/ann/1")
    rate(page)
    wait_for(page, url, "/rate/ann/2")
    for digit in "13":
        page.keyboard.press(digit)
    page.get_by_label("Comment").fill("half done")
    before = chosen(page)
    page.reload()
    assert chosen(page) == before and len(before) == 2
    expect(page.get_by_label("Comment")).to_have_value("half done")
    expect(page.locator("#state")).to_have_text("Chosen, but not saved yet.")
    # The focus is where the rater stopped.
    assert page.evaluate("() => document.activeElement.name") == DIMENSIONS[2].name
    shot(page, "audit-draft")
    page.goto(url + "rate/ann/1")
    assert chosen(page) == DIGITS
    page.goto(url)
    expect(page.get_by_text("ann: 1 of 11")).to_be_visible()


def test_two_raters_in_two_browsers_lose_no_rating(audit, url, open_page):
    pages = {name: open_page().page for name in ("ann", "bob")}
    for name, page in pages.items():
        page.goto(f"{url}rate/{name}")
    for number in range(1, 12):  # both begin a record before either is saved
        for name, digits in (("ann", "1" * 7), ("bob", "0" * 7)):
            wait_for(pages[name], url, f"/rate/{name}/{number}")
            for digit in digits:
                pages[name].keyboard.press(digit)
        for page in pages.values():
            page.evaluate("() => document.querySelector('form').requestSubmit()")
    for name, page in pages.items():
        wait_for(page, url, f"/rate/{name}/done")
    found = {name: list(Audit(audit).of(name).values()) for name in pages}
    assert {name: len(ratings) for name, ratings in found.items()} == {"ann": 11, "bob": 11}
    assert all(r.scores["completeness"] == 1 for r in found["ann"])
    assert all(r.scores["completeness"] == 0 for r in found["bob"])


def test_a_server_that_is_killed_between_two_ratings_costs_nothing(audit, serving, open_page, shot, free_port):
    watched = open_page()
    page = watched.page
    watched.expected = ["ERR_CONNECTION"]
    with serving(audit, free_port) as (process, url):
        page.goto(url + "rate/ann/1")
        rate(page)
        wait_for(page, url, "/rate/ann/2")
        page.wait_for_load_state("load")
        process.kill()
        process.wait()
        rate(page)
        expect(page.locator("#state")).to_contain_text("Not saved: the server does not answer")
        assert chosen(page) == DIGITS and page.url.endswith("/rate/ann/2") and saved(audit, "ann") == 1
        shot(page, "audit-server-gone")
    with serving(audit, free_port) as (_, url):
        page.get_by_role("button", name="Save and go on").click()
        wait_for(page, url, "/rate/ann/3")
        page.goto(url + "rate/ann/2")
        assert chosen(page) == DIGITS
    assert saved(audit, "ann") == 2


def test_a_rating_that_finds_no_room_stays_in_the_page(audit, url, open_page, shot):
    watched = open_page()
    page = watched.page
    watched.expected = ["status of 500"]
    page.goto(url + "rate/ann/1")
    (audit / "ratings").touch()  # a file where the folder belongs: nothing can be written
    rate(page)
    expect(page.locator("#state")).to_contain_text("the rating is not saved")
    assert chosen(page) == DIGITS
    (audit / "ratings").unlink()
    page.keyboard.press("Enter")
    wait_for(page, url, "/rate/ann/2")
    assert saved(audit, "ann") == 1


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_form_fits_a_phone_and_is_rated_by_touch(audit, url, open_page, shot, contrast, colours):
    page = open_page(viewport={"width": 375, "height": 812}, has_touch=True, is_mobile=True, color_scheme=colours).page
    page.goto(url)
    page.get_by_label("Name").fill("ann")
    page.get_by_role("button", name="Begin").tap()
    wait_for(page, url, "/rate/ann/1")
    assert page.evaluate(_SIDEWAYS) <= 0
    boxes = [label.bounding_box() for label in page.locator(".choices label").all()]
    assert min(min(box["width"], box["height"]) for box in boxes) >= 44  # WCAG 2.5.5, size of targets
    expect(page.locator(".keys")).to_be_hidden()  # there are none
    for group in page.locator("fieldset").all():
        group.locator("label").nth(1).tap()
    shot(page, f"audit-phone-{colours}")
    assert contrast(page) == []
    page.get_by_role("button", name="Save and go on").tap()
    wait_for(page, url, "/rate/ann/2")
    assert saved(audit, "ann") == 1


def test_the_pictures_are_shown_and_open_alone(audit, url, open_page, shot):
    page = open_page(color_scheme="dark").page
    for number in range(1, 12):
        page.goto(f"{url}rate/ann/{number}")
        shot(page, f"audit-dark-{number}" if number < 3 else "audit-dark-last")
        sizes = page.evaluate("() => [...document.images].map(i => [i.clientWidth, i.clientHeight])")
        assert sizes and all(min(size) > 40 for size in sizes)
    page.locator(".images a").first.click()
    page.wait_for_url(re.compile("/image/11/1$"))


def test_what_is_left_out_is_shown_and_not_sent(audit, url, open_page):
    page = open_page().page
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(url + "rate/ann/1")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    invalid = page.evaluate("() => document.querySelector('form :invalid').closest('fieldset').textContent")
    assert DIMENSIONS[1].title in invalid and page.url.endswith("/rate/ann/1") and not saved(audit, "ann")
    page.reload()
    assert list(chosen(page)) == [DIMENSIONS[0].name]


def test_all_that_does_not_apply_is_refused_in_the_page(audit, url, open_page, shot):
    watched = open_page()
    watched.expected = ["status of 400"]
    page = watched.page
    page.goto(url + "rate/ann/1")
    rate(page, "n" * 7)
    expect(page.locator("#state")).to_contain_text("no dimension is rated")
    assert set(chosen(page).values()) == {""} and not saved(audit, "ann")
    shot(page, "audit-refused")
    for path, words in (("rate/ann/99", "no record 99"), ("rate/a%20b/1", "expected 1 to 32"), ("x", "no such page")):
        watched.expected.append("status of 404")
        page.goto(url + path)
        expect(page.locator("main")).to_contain_text(words)
    shot(page, "audit-no-such-page")
    page.get_by_role("link", name="To the start").click()
    page.get_by_label("Name").fill("no/../name")
    page.keyboard.press("Enter")
    assert page.url == url  # the browser says which characters a name has


def test_the_form_saves_without_scripts(audit, url, open_page):
    page = open_page(java_script_enabled=False).page
    page.goto(url + "rate/ann/1")
    for d in DIMENSIONS:
        page.locator(f"input[name={d.name}][value='1']").check(force=True)
    page.get_by_role("button", name="Save and go on").click()
    wait_for(page, url, "/rate/ann/2")
    assert saved(audit, "ann") == 1
