"""`python -m heartopt` is the `heartopt` command."""

from __future__ import annotations

import sys

from heartopt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
