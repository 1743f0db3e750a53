"""Run a command again and again on a small disk of its own, a tmpfs that is mounted anew in each way of a list.

    unshare --mount python small_disk.py FOLDER '["size=64k", "size=64k,ro", "size=4m"]' COMMAND...

Prints as JSON, of each run, the exit status, standard error, and the SHA-256 of each file on the disk. The mount is
seen by this process and its children alone, and ends with them.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

LOCKS = ("build.lock", "lanes.lock")


def hashes(folder: Path) -> dict[str, str]:
    """By path, of every file below a folder but the locks."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in LOCKS]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main(folder: Path, ways: list[str], command: list[str]) -> list[dict]:
    """What became of the command in each way to mount the disk."""
    runs = []
    for number, way in enumerate(ways):
        again = "remount," if number else ""
        subprocess.run(["mount", "-t", "tmpfs", "-o", again + way, "tmpfs", str(folder)], check=True)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        runs.append({"status": done.returncode, "errors": done.stderr, "files": hashes(folder)})
    return runs


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])))
