"""Write the summary, Markdown, tables and pictures of evaluations anew, from the rows in their JSON alone.

    python -m heartopt.report reports/*.json            # JSON files that are no evaluation are passed over
    python -m heartopt.report reports/*.jsonl           # logs of training runs: their curves
    python -m heartopt.report --check reports/*.json    # writes nothing; exit code 1 where a file does not follow
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from heartopt.errors import HeartoptError
from heartopt.report.check import unfaithful
from heartopt.report.curves import draw_run, stale_curves
from heartopt.report.write import read_report, write_files

LOG = ".jsonl"  # a training run's


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m heartopt.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file does not follow")
    chosen = parser.parse_args(argv)
    logging.basicConfig(format="warning: %(message)s")
    found = 0
    for path in chosen.reports:
        try:
            for line in _check(path) if chosen.check else _write(path):
                print(f"error: {line}", file=sys.stderr)
                found += 1
        except HeartoptError as error:
            print(f"error: {error}", file=sys.stderr)
            found += 1
    return 1 if found else 0


def _check(path: Path) -> Iterable[str]:
    return stale_curves(path) if path.suffix == LOG else unfaithful(path)


def _write(path: Path) -> Iterable[str]:
    if path.suffix == LOG:
        draw_run(path)
    elif (evaluation := read_report(path)) is not None:
        write_files(evaluation, path.parent, path.stem)
    return ()


if __name__ == "__main__":
    sys.exit(main())
