"""An evaluation's files: `NAME.json`, and what follows from it: `NAME.md`, `NAME.csv`, `NAME.summary.csv`, pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from heartopt.errors import HeartoptError, OutputError
from heartopt.evaluation import Evaluation
from heartopt.files import write_json, write_text
from heartopt.report.comma_separated import rows_csv, summary_csv
from heartopt.report.figures import need_matplotlib
from heartopt.report.markdown import markdown
from heartopt.report.pictures import SPECTROGRAMS, Sounds, applicable, choose_heard, draw_heard, draw_report

#: The setting that says whether there are pictures.
PICTURES = "pictures"

log = logging.getLogger(__name__)


class ReportFiles(NamedTuple):
    """The files that `write_report` wrote: everything; rows and summary as tables; pictures."""

    markdown: Path
    csv: Path
    json: Path
    summary: Path
    pictures: tuple[Path, ...] = ()

    @classmethod
    def of(cls, folder: Path, stem: str) -> ReportFiles:
        """Where they are."""
        markdown, rows, everything, summary = (folder / f"{stem}.{end}" for end in ("md", "csv", "json", "summary.csv"))
        return cls(markdown, rows, everything, summary)


def write_report(
    evaluation: Evaluation,
    *,
    output_dir: str | Path = "reports",
    name: str | None = None,
    command: str | None = None,
    pictures: bool = True,
    sounds: Sounds | None = None,
) -> ReportFiles:
    """Write everything as JSON, then what follows from it, each file atomically; other files stay.

    Where matplotlib is not installed, one line in the log says so, and all but the pictures is written.

    Args:
        output_dir: made if missing.
        name: the files' stem; default: the suite's name.
        command: the command line to show in the Markdown.
        pictures: whether to draw them.
        sounds: gives a file's sound by a system (None: the song itself), so that spectrograms can be drawn.

    Raises:
        OutputError: a file or the folder cannot be written.
    """
    folder, stem = Path(output_dir), name or evaluation.suite
    told: dict[str, Any] = {PICTURES: pictures and _can_draw()}
    if command is not None:
        told["command"] = command
    if told[PICTURES] and sounds is not None:
        told |= _spectrograms(evaluation, sounds, folder / f"{stem}.{SPECTROGRAMS}.png")
    evaluation = replace(evaluation, settings={**evaluation.settings, **told})
    files = write_files(evaluation, folder, stem)
    spectrograms = (folder / f"{stem}.{SPECTROGRAMS}.png",) if told.get(SPECTROGRAMS) else ()
    return files._replace(pictures=(*files.pictures, *spectrograms))


def write_files(evaluation: Evaluation, folder: Path, stem: str) -> ReportFiles:
    """Write the JSON and what follows from it; pictures where there are some and matplotlib is installed.

    Spectrograms stay as they are: they need sounds.

    Raises:
        OutputError: a file cannot be written.
    """
    files = ReportFiles.of(folder, stem)
    write_json(files.json, evaluation.to_json())
    drawn = draw_report(evaluation, folder, stem) if evaluation.settings.get(PICTURES) and _can_draw() else []
    for path, text in render_texts(evaluation, folder, stem).items():
        write_text(path, text)
    return files._replace(pictures=tuple(drawn))


def render_texts(evaluation: Evaluation, folder: Path, stem: str) -> dict[Path, str]:
    """The Markdown and the tables of comma-separated values: functions of the evaluation's JSON and nothing else."""
    evaluation = Evaluation.from_json(evaluation.to_json())  # summaries are those of the rows, whoever made them
    files = ReportFiles.of(folder, stem)
    texts = {
        files.markdown: markdown(evaluation, pictures=linked(evaluation, stem)),
        files.csv: rows_csv(evaluation),
        files.summary: summary_csv(evaluation),
    }
    return {path: text.encode("utf-8", "backslashreplace").decode() for path, text in texts.items()}  # as a file has it


def linked(evaluation: Evaluation, stem: str) -> dict[str, str]:
    """The pictures that the Markdown shows: file name -> what it shows, in words."""
    return applicable(evaluation, stem) if evaluation.settings.get(PICTURES) else {}


def read_report(path: Path) -> Evaluation | None:
    """The evaluation in a report's JSON; None where the file is another kind of JSON.

    Raises:
        HeartoptError: it cannot be read, or is damaged, or its summary is not that of its rows.
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


def _can_draw() -> bool:
    try:
        need_matplotlib("a report's pictures")
    except HeartoptError as error:
        log.warning("no pictures: %s", error)
        return False
    return True


def _spectrograms(evaluation: Evaluation, sounds: Sounds, path: Path) -> Mapping[str, Any]:
    """Draw them; the setting that says so. A sound that cannot be had is said in the log."""
    heard = choose_heard(evaluation)
    if heard is None:
        return {}
    try:
        draw_heard(evaluation, sounds, heard, path)
    except OutputError:
        raise
    except HeartoptError as error:
        log.warning("no spectrograms of %s: %s", heard.file, error)
        return {}
    return {SPECTROGRAMS: asdict(heard)}
