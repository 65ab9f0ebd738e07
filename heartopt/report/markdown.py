"""An evaluation as Markdown: a pure function of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from heartopt.evaluation import Evaluation
from heartopt.metrics import METRICS, QUANTITIES
from heartopt.report.suite_tables import corpus_table, cost_table, level_table, song_table
from heartopt.report.tables import (
    FAMILIES,
    MISSING,
    TextTable,
    difference_table,
    doubts,
    family_tables,
    file_table,
    summary_table,
    tier_words,
    worst_table,
)

#: What every evaluation's Markdown says, and no other report's.
WRITTEN_BY = "Written by `heartopt evaluate`"
_MAIN = FAMILIES["Main figures"]
_NOTES = (
    "Arrows say which way is better. Tokens are decoded under every judge seed, and a file's value is the mean over "
    "them; intervals are bootstrapped over files, and with fewer than about ten files they are too narrow."
)
_DIFFERENCE_NOTES = (
    "A verdict is given where the interval excludes 0. The effect d is the mean difference over its standard "
    "deviation; p is of Wilcoxon's signed-rank test, not corrected for the number of rows: with five files or fewer it "
    "cannot be below 0.06."
)
_CODES_NOTE = (
    "Figures of codes describe; they are no sign of quality by themselves: random codes use every entry. The Fréchet "
    "distance (`fad`) compares the embeddings of all files together, so only distances of one embedder and one suite "
    "compare; `another_song` has the suite's own songs, each in another's place."
)
_COST_NOTE = "Times and memory are those of the machine that wrote this report."
_HIDDEN = ("command", "pictures", "spectrograms")  # settings that the text shows in other ways


def markdown(evaluation: Evaluation, *, pictures: Mapping[str, str] | None = None) -> str:
    """The report: command, summary, tiers and controls, families, differences, codes, cost, every file, failures.

    `pictures`: file name -> what it shows, in words; the text links to them.
    """
    return "\n\n".join(_parts(evaluation, pictures or {})) + "\n"


def _parts(evaluation: Evaluation, pictures: Mapping[str, str]) -> Iterator[str]:
    yield f"# Evaluation: {escape(evaluation.suite)}"
    yield f"{WRITTEN_BY}: regenerate it, do not edit it."
    if command := evaluation.settings.get("command"):
        yield fenced(str(command))
    yield "## Summary"
    yield markdown_table(summary_table(evaluation))
    if doubt := doubts(evaluation):
        yield f"**{escape(doubt)}.**"
    yield _NOTES
    yield "## Tiers"
    yield escape(tier_words(evaluation))
    yield from (f"![{escape(words)}]({quote(Path(name).name)})" for name, words in pictures.items())
    for table in family_tables(evaluation):
        yield from _section(table)
    yield from _differences(evaluation)
    yield from _section(worst_table(evaluation))
    yield from _section(corpus_table(evaluation), _CODES_NOTE)
    yield from _section(level_table(evaluation))
    yield from _section(cost_table(evaluation), _COST_NOTE)
    files = file_table(evaluation)
    yield f"## {files.title}"
    yield from _folded(f"{len(files.rows)} rows; the CSV has all their columns", files)
    yield from _failures(evaluation)
    yield from _section(song_table(evaluation))
    yield from _glossary(evaluation)
    yield "## Settings"
    yield _settings(evaluation.settings)


def _section(table: TextTable | None, note: str = "") -> Iterator[str]:
    if table is not None and table.rows:
        yield f"## {escape(table.title)}"
        yield markdown_table(table)
        if note:
            yield note


def _differences(evaluation: Evaluation) -> Iterator[str]:
    """Those of the main figures; all others folded."""
    if difference_table(evaluation) is None:
        return
    main, rest = difference_table(evaluation, metrics=_MAIN), difference_table(evaluation, without=_MAIN)
    yield f"## {escape((main or rest or TextTable('', (), ())).title)}"
    if main:
        yield markdown_table(main)
    yield _DIFFERENCE_NOTES
    if rest:
        yield from _folded(f"{len(rest.rows)} differences of other metrics", rest)


def _folded(words: str, table: TextTable) -> Iterator[str]:
    """A long table that opens when it is asked for."""
    yield f"<details>\n<summary>{words}</summary>"
    yield markdown_table(table)
    yield "</details>"


def markdown_table(table: TextTable) -> str:
    """A table of GitHub's Markdown, its first column to the left and all others to the right."""
    lines = ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in (table.headings, *table.rows)]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table.headings) - 1) + "|", *lines[1:]])


def _failures(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.failed:
        yield "## Failed"
        rows = ((entry.file, entry.system or MISSING, entry.error) for entry in evaluation.failed)
        lines = ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows]
        yield "\n".join(["| file | system | why |", "|---|---|---|", *lines])


def _glossary(evaluation: Evaluation) -> Iterator[str]:
    names = dict.fromkeys([*evaluation.metrics, *(key for entry in evaluation.corpus for key in entry)])
    if rows := tuple(_meaning(name) for name in names if name in QUANTITIES):
        yield "## What the figures mean"
        yield _plain_table(("figure", "what it is", "range", "blind to"), rows)


def _meaning(name: str) -> tuple[str, str, str, str]:
    scope = (METRICS[name].range, METRICS[name].blind) if name in METRICS else (MISSING, MISSING)
    return (f"`{name}`", f"{QUANTITIES[name].about}.", *scope)


def _plain_table(headings: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    """As `markdown_table` for heartopt's own words, which may hold Markdown; all columns to the left."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (headings, *rows)]
    return "\n".join([lines[0], "|---" * len(headings) + "|", *lines[1:]])


def _settings(settings: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in settings.items() if key not in _HIDDEN and value not in ([], {}, "")}
    lines = [f"| {escape(key)} | {escape(_value(value))} |" for key, value in shown.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def fenced(command: str) -> str:
    """A command as a block of code, whatever signs it has."""
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{command}\n{fence}"


def escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is, also in a table's cell and for a hostile file name."""
    text = re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)  # _ within a word stays
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
