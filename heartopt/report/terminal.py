"""An evaluation on the terminal, as rich tables."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from heartopt.evaluation import Evaluation
from heartopt.report.tables import TextTable, difference_table, not_told_apart, summary_table

# What fits into 120 columns; the files have all.
_METRICS = ("stft", "mel", "si_sdr", "shimmer_db", "pesq_wb", "perplexity", "rtf")
_COMPARED = ("stft", "mel")
_COLOURS = {"Excellent": "green", "Good": "green", "Fair": "yellow", "Poor": "red"}


def render(evaluation: Evaluation) -> RenderableType:
    """The summary, what is not told from a control, the paired differences of the main metrics, and what failed."""
    summary = summary_table(evaluation, metrics=_METRICS, intervals=("stft",))
    parts: list[RenderableType] = [as_rich(summary)] if evaluation.rows else []
    parts += [Text(f"{sentence}.", style="yellow") for sentence in not_told_apart(evaluation)]
    if table := difference_table(evaluation, metrics=_COMPARED):
        parts.append(as_rich(table))
    for failure in evaluation.failed:
        what = failure.file if failure.system is None else f"{failure.file} ({failure.system})"
        parts.append(Text(f"failed: {what}: {failure.error}", style="red"))
    return Group(*parts)


def as_rich(table: TextTable) -> Table:
    """The table with its tiers in colour; file names are shown as they are, never taken for markup."""
    result = Table(title=escape(table.title), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for number, heading in enumerate(table.headings):
        text = escape(heading.replace(" (", "\n("))  # the unit below the name
        result.add_column(text, justify="left" if number == 0 else "right", no_wrap=True)
    for row in table.rows:
        result.add_row(*(Text(cell, style=_COLOURS.get(cell.partition(" (")[0], "")) for cell in row))
    return result
