"""An evaluation as Markdown: a pure function of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from heartopt.evaluation import TIERS, Evaluation
from heartopt.metrics import METRICS
from heartopt.report.tables import (
    TextTable,
    control_figures,
    corpus_table,
    cost_table,
    difference_table,
    family_tables,
    file_table,
    level_table,
    not_told_apart,
    summary_table,
    worst_table,
)

_NOTES = (
    "Arrows say which way is better. Tokens are decoded under every judge seed, and a file's value is the mean over "
    "them; intervals are bootstrapped over files, and with fewer than about ten files they are too narrow. The "
    "effect d is the mean difference over its standard deviation; p is Wilcoxon's signed-rank test, not corrected for "
    "the number of rows."
)
_CODES_NOTE = (
    "They describe; they are no sign of quality by themselves: random codes use every entry. The Fréchet distance "
    "compares embeddings of all files together, and only distances of the same embedder."
)
_COST_NOTE = "`rtf` is the time to make the tokens over the audio's length, on the machine that wrote this report."


def markdown(evaluation: Evaluation, *, pictures: Mapping[str, str] | None = None) -> str:
    """The report: command, summary, tiers and controls, families, differences, codes, cost, every file, failures.

    `pictures`: file name -> what it shows, in words; the text links to them.
    """
    return "\n\n".join(_parts(evaluation, pictures or {})) + "\n"


def _parts(evaluation: Evaluation, pictures: Mapping[str, str]) -> Iterator[str]:
    yield f"# Evaluation: {escape(evaluation.suite)}"
    yield "Written by `heartopt evaluate`: regenerate it, do not edit it."
    if command := evaluation.settings.get("command"):
        yield f"```sh\n{command}\n```"
    yield "## Summary"
    yield markdown_table(summary_table(evaluation))
    yield from (f"**{escape(sentence)}.**" for sentence in not_told_apart(evaluation))
    yield _NOTES
    yield "## Tiers"
    yield _tiers(evaluation)
    yield from (f"![{escape(words)}]({Path(name).name})" for name, words in pictures.items())
    for table in family_tables(evaluation):
        yield from _section(table)
    yield from _section(difference_table(evaluation))
    yield from _section(worst_table(evaluation))
    if (corpus := corpus_table(evaluation)) is not None:
        yield from _section(corpus)
        yield _CODES_NOTE
    yield from _section(level_table(evaluation))
    if (cost := cost_table(evaluation)) is not None:
        yield from _section(cost)
        yield _COST_NOTE
    yield from _section(file_table(evaluation))
    yield from _failures(evaluation)
    yield from _glossary(evaluation)
    yield "## Settings"
    yield _settings(evaluation.settings)


def _section(table: TextTable | None) -> Iterator[str]:
    if table is not None and table.rows:
        yield f"## {escape(table.title)}"
        yield markdown_table(table)


def markdown_table(table: TextTable) -> str:
    """A table of GitHub's Markdown, its first column to the left and all others to the right."""
    lines = ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in (table.headings, *table.rows)]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table.headings) - 1) + "|", *lines[1:]])


def _tiers(evaluation: Evaluation) -> str:
    borders = "; ".join(f"**{tier.name}** {tier.borders}" for tier in TIERS)
    text = f"By the mean `stft`: {borders}."
    if controls := control_figures(evaluation):
        found = ", ".join(f"{name} {value:.2f}" for name, value in controls)
        text += f" On this suite the controls fall at: {found}."
    return text


def _failures(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.failed:
        yield "## Failed"
        yield "\n".join(
            f"- {escape(entry.file)}{f' ({escape(entry.system)})' if entry.system else ''}: {escape(entry.error)}"
            for entry in evaluation.failed
        )


def _glossary(evaluation: Evaluation) -> Iterator[str]:
    measured = [METRICS[name] for name in evaluation.metrics if name in METRICS]
    if measured:
        yield "## What the metrics measure"
        rows = tuple((f"`{entry.name}`", f"{entry.about}.", entry.range, entry.blind) for entry in measured)
        yield _plain_table(("metric", "measures", "range", "does not hear"), rows)


def _plain_table(headings: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    """As `markdown_table` for heartopt's own words, which may hold Markdown; all columns to the left."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (headings, *rows)]
    return "\n".join([lines[0], "|---" * len(headings) + "|", *lines[1:]])


def _settings(settings: Mapping[str, Any]) -> str:
    lines = [f"| {escape(key)} | {escape(_value(value))} |" for key, value in settings.items() if key != "command"]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is, also in a table's cell and for a hostile file name."""
    for sign in ("\\", "`", "*", "[", "]", "|"):
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
