"""`python -m unimedvl` is the same as `unimedvl`."""

from __future__ import annotations

import sys

from unimedvl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
