"""An evaluation as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from heartopt.evaluation import TIERS, Evaluation
from heartopt.report.tables import (
    TextTable,
    control_figures,
    difference_table,
    file_table,
    level_table,
    summary_table,
)

_NOTES = (
    "Arrows say which way is better. Tokens are decoded under every judge seed, and a file's value is the mean over "
    "them; intervals are bootstrapped over files, and with fewer than about ten files they are too narrow. `rtf` is "
    "the time to make the tokens over the audio's length, on the machine that wrote this report. Usage and "
    "perplexity describe the codes; random codes use every entry, so they are no sign of quality by themselves. "
    "PESQ is a measure of speech."
)


def markdown(evaluation: Evaluation, *, command: str | None = None) -> str:
    """The report: command, settings, summary, tiers and controls, differences, levels, every file, failures."""
    tables = [difference_table(evaluation), level_table(evaluation), file_table(evaluation)]
    parts = [
        f"# Evaluation: {escape(evaluation.suite)}",
        "Written by `heartopt evaluate`: regenerate it, do not edit it.",
        *([f"```sh\n{command}\n```"] if command else []),
        "## Summary",
        markdown_table(summary_table(evaluation)),
        _NOTES,
        "## Tiers",
        _tiers(evaluation),
        *(f"## {escape(found.title)}\n\n{markdown_table(found)}" for found in tables if found and found.rows),
        *_failures(evaluation),
        "## Settings",
        _settings(evaluation.settings),
    ]
    return "\n\n".join(parts) + "\n"


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


def _failures(evaluation: Evaluation) -> list[str]:
    if not evaluation.failed:
        return []
    lines = [
        f"- {escape(entry.file)}{f' ({entry.system})' if entry.system else ''}: {escape(entry.error)}"
        for entry in evaluation.failed
    ]
    return ["## Failed", "\n".join(lines)]


def _settings(settings: Mapping[str, Any]) -> str:
    lines = [f"| {key} | {escape(_value(value))} |" for key, value in settings.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is, also in a table's cell and for a hostile file name."""
    for sign in ("\\", "`", "*", "[", "]", "|"):
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
