"""An evaluation on the terminal, as rich tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from heartopt.evaluation import Evaluation
from heartopt.report.tables import TextTable, difference_table, summary_table

_COLOURS = {"Excellent": "green", "Good": "green", "Fair": "yellow", "Poor": "red"}


def render(evaluation: Evaluation) -> RenderableType:
    """The summary, the paired differences and what failed."""
    parts: list[RenderableType] = [as_rich(summary_table(evaluation))] if evaluation.rows else []
    if table := difference_table(evaluation):
        parts.append(as_rich(table))
    for failure in evaluation.failed:
        what = failure.file if failure.system is None else f"{failure.file} ({failure.system})"
        parts.append(Text(f"failed: {what}: {failure.error}", style="red"))
    return Group(*parts)


def as_rich(table: TextTable) -> Table:
    """The table with its tiers in colour; file names are shown as they are, never taken for markup."""
    result = Table(title=escape(table.title), title_justify="left")
    for number, heading in enumerate(table.headings):
        result.add_column(escape(heading), justify="left" if number == 0 else "right")
    for row in table.rows:
        result.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return result
