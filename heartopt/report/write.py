"""An evaluation's files: `NAME.md`, `NAME.csv`, `NAME.json`."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

from heartopt.evaluation import Evaluation
from heartopt.files import write_json, write_text
from heartopt.report.markdown import markdown

_FIRST = ("file", "system", "tier")


class ReportFiles(NamedTuple):
    """The files that `write_report` wrote."""

    markdown: Path
    csv: Path
    json: Path


def write_report(
    evaluation: Evaluation, *, output_dir: str | Path = "reports", name: str | None = None, command: str | None = None
) -> ReportFiles:
    """Write the Markdown, the rows as CSV and everything as JSON, each atomically; other files stay.

    Args:
        output_dir: made if missing.
        name: the files' stem; default: the suite's name.
        command: the command line to show in the Markdown.

    Raises:
        OutputError: a file or the folder cannot be written.
    """
    stem = name or evaluation.suite
    folder = Path(output_dir)
    files = ReportFiles(folder / f"{stem}.md", folder / f"{stem}.csv", folder / f"{stem}.json")
    write_json(files.json, evaluation.to_json())
    write_text(files.csv, csv_text(evaluation))
    write_text(files.markdown, markdown(evaluation, command=command))
    return files


def csv_text(evaluation: Evaluation) -> str:
    """One line for each file and system; an empty cell where there is no value, or NaN."""
    columns = [*_FIRST, *evaluation.metrics]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in evaluation.rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
