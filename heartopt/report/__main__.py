"""`python -m heartopt.report reports/*.json`: write the Markdown, CSV and pictures of evaluations anew from their rows.

With `--check` nothing is written: each file whose text does not follow from its rows is named, and the exit code is 1.
JSON files that are no evaluation are passed over.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from heartopt.errors import HeartoptError
from heartopt.report.write import read_report, render_texts, write_files


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m heartopt.report", description=(__doc__ or "").split(":")[1])
    parser.add_argument("reports", nargs="+", type=Path, metavar="NAME.json")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a text does not follow")
    chosen = parser.parse_args(argv)
    failed = 0
    for path in chosen.reports:
        try:
            stale = render(path, check=chosen.check)
        except HeartoptError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        for name in stale:
            mend = f"python -m heartopt.report {path}"
            print(f"error: {name}: does not follow from {path}: write it anew by {mend}", file=sys.stderr)
        failed += len(stale)
    return 1 if failed else 0


def render(path: Path, *, check: bool) -> list[Path]:
    """Write the texts and pictures of one report anew, or, to check, return those texts that differ.

    Raises:
        HeartoptError: it cannot be read or written.
    """
    evaluation = read_report(path)
    if evaluation is None:
        return []
    if not check:
        write_files(evaluation, path.parent, path.stem)
        return []
    names = path.with_suffix(".md"), path.with_suffix(".csv")
    wanted = dict(zip(names, render_texts(evaluation, path.stem), strict=True))
    return [name for name, text in wanted.items() if not name.is_file() or name.read_text(encoding="utf-8") != text]


if __name__ == "__main__":
    sys.exit(main())
