"""`make test` runs every test but those that need a browser."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

TESTS = Path(__file__).parent


def test_no_folder_of_tests_but_e2e_is_passed_over(pytestconfig):
    patterns = pytestconfig.getini("norecursedirs")
    folders = {part for file in TESTS.rglob("test_*.py") for part in file.relative_to(TESTS).parts[:-1]}
    passed_over = {name for name in folders if any(fnmatch(name, pattern) for pattern in patterns)}
    assert {"build", "privacy"} <= folders and passed_over == {"e2e"}
