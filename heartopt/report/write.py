"""An evaluation's files: `NAME.md`, `NAME.csv`, `NAME.json`, and its pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from heartopt.errors import HeartoptError
from heartopt.evaluation import Evaluation
from heartopt.files import write_json, write_text
from heartopt.report.markdown import markdown
from heartopt.report.pictures import applicable, draw_report

_FIRST = ("file", "system", "tier")


class ReportFiles(NamedTuple):
    """The files that `write_report` wrote."""

    markdown: Path
    csv: Path
    json: Path
    pictures: tuple[Path, ...] = ()


def write_report(
    evaluation: Evaluation,
    *,
    output_dir: str | Path = "reports",
    name: str | None = None,
    command: str | None = None,
    pictures: bool | None = None,
) -> ReportFiles:
    """Write everything as JSON, the rows as CSV, the Markdown and its pictures, each atomically; other files stay.

    CSV and Markdown follow from the JSON alone: `render_texts` gives them again.

    Args:
        output_dir: made if missing.
        name: the files' stem; default: the suite's name.
        command: the command line to show in the Markdown.
        pictures: draw them; default: where matplotlib is installed.

    Raises:
        HeartoptError: pictures are asked for, and matplotlib is not installed.
        OutputError: a file or the folder cannot be written.
    """
    drawn = find_spec("matplotlib") is not None if pictures is None else pictures
    told = {"pictures": drawn} if command is None else {"pictures": drawn, "command": command}
    evaluation = replace(evaluation, settings={**evaluation.settings, **told})
    return write_files(evaluation, Path(output_dir), name or evaluation.suite)


def write_files(evaluation: Evaluation, folder: Path, stem: str) -> ReportFiles:
    """As `write_report`, of an evaluation whose settings say already how it was made."""
    files = ReportFiles(folder / f"{stem}.md", folder / f"{stem}.csv", folder / f"{stem}.json")
    write_json(files.json, evaluation.to_json())
    drawn = draw_report(evaluation, folder, stem) if evaluation.settings.get("pictures") else []
    for path, text in zip(files[:2], render_texts(evaluation, stem), strict=True):
        write_text(path, text)
    return files._replace(pictures=tuple(drawn))


def render_texts(evaluation: Evaluation, stem: str) -> tuple[str, str]:
    """The Markdown and the CSV: functions of the evaluation's JSON and nothing else."""
    evaluation = Evaluation.from_json(evaluation.to_json())  # summaries are those of the rows, whoever made them
    pictures = applicable(evaluation, stem) if evaluation.settings.get("pictures") else {}
    return markdown(evaluation, pictures=pictures), csv_text(evaluation)


def read_report(path: Path) -> Evaluation | None:
    """The evaluation in a report's JSON; None where the file is another kind of JSON.

    Raises:
        HeartoptError: it cannot be read, or is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HeartoptError(f"{path}: cannot be read as JSON: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(record, dict) or not {"suite", "rows", "summary", "settings"} <= set(record):
        return None
    try:
        return Evaluation.from_json(record)
    except HeartoptError as error:
        raise HeartoptError(f"{path}: {error}") from error


def csv_text(evaluation: Evaluation) -> str:
    """One line for each file and system; an empty cell where there is no value, or NaN."""
    columns = [*_FIRST, *evaluation.metrics]
    if any(row.get("note") for row in evaluation.rows):
        columns.append("note")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in evaluation.rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
