"""Write the benchmarks' pages under `reports/` anew from the JSON beside them; nothing is measured.

    python benchmarks/pages.py            # pages and tables; those of the costs are computed
    python benchmarks/pages.py --check    # writes nothing; exit code 1 where one does not follow

Evaluations have `python -m heartopt.report`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import deshimmer_speed
import evaluate_speed
import gate_noise
import metric_page
import optimize_cost
import optimize_growth
import optimize_table
import train_cost
import train_figures
import train_recipes_table

from heartopt.errors import ConfigError, HeartoptError
from heartopt.files import write_text


def pages(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each page or table, and its text. Raises ConfigError for a JSON file that cannot be read."""

    def read(name: str) -> Any:
        try:
            return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {folder / name}.json: {error}") from error

    optimize, train = read("optimize"), read("train")
    yield folder / "deshimmer.md", deshimmer_speed.page(read("deshimmer"))
    yield folder / "evaluate_speed.md", evaluate_speed.page(read("evaluate_speed"))
    yield folder / "gate_noise.md", gate_noise.page(read("gate_noise"))
    yield folder / "metrics.md", metric_page.page(read("metrics"))
    yield folder / "optimize.md", optimize_table.page(optimize["recipe"], optimize["rows"])
    yield folder / "optimize.csv", optimize_table.csv_text(optimize["rows"])
    yield folder / "optimize_cost.md", optimize_cost.page()
    yield folder / "optimize_growth.md", optimize_growth.page(read("optimize_growth"))
    yield folder / "train.md", train_recipes_table.markdown(train)
    yield folder / "train.csv", train_recipes_table.csv_text(train)
    yield folder / "train_cost.md", train_cost.page()
    yield folder / "train_speed.md", train_figures.page(read("train_speed"), read("train_growth"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, default=Path("reports"))
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page does not follow")
    given = parser.parse_args(arguments)
    stale = 0
    try:
        for path, text in pages(given.report):
            if not given.check:
                write_text(path, text)
            elif not path.is_file() or path.read_bytes() != text.encode():
                print(f"error: {path}: does not follow from what it is made of; run `{parser.prog}`", file=sys.stderr)
                stale += 1
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
