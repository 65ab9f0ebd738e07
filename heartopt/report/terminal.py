"""An evaluation on the terminal, as rich tables that are no wider than it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from heartopt.evaluation import Evaluation
from heartopt.metrics.tiers import TIER_METRIC
from heartopt.report.suite_tables import corpus_table, cost_table
from heartopt.report.tables import DOUBT, TextTable, difference_table, doubts, summary_table, tier_words, worst_table

#: The most important first: what a narrow terminal has no room for is left out from the end. The files have all.
_METRICS = ("stft", "mel", "shimmer_db", "si_sdr", "pesq_wb", "rtf")
_COMPARED = ("stft", "mel")
_COLOURS = {"Excellent": "green", "Good": "green", "Fair": "yellow", "Poor": "red", "better": "green", "worse": "red"}
_NAME_WIDTH = 30  # longer names are folded


def render(evaluation: Evaluation) -> RenderableType:
    """The summary with its tiers, what a control reaches too, differences, codes, cost, worst files, what failed."""
    parts: list[RenderableType] = []
    if evaluation.rows:
        parts.append(FittingTable(summary_table(evaluation, metrics=_METRICS, intervals=(TIER_METRIC,))))
        if evaluation.find(evaluation.systems[0], TIER_METRIC):
            parts.append(Text(f"{tier_words(evaluation)}\n", style="dim"))
    if doubt := doubts(evaluation):
        parts.append(Text(f"{doubt}.\n", style="yellow"))
    tables = (
        difference_table(evaluation, metrics=_COMPARED),
        corpus_table(evaluation),
        cost_table(evaluation),
        worst_table(evaluation, metrics=(TIER_METRIC,)),
    )
    parts += [FittingTable(table) for table in tables if table]
    for failure in evaluation.failed:
        what = failure.file if failure.system is None else f"{failure.file} ({failure.system})"
        parts.append(Text(f"failed: {what}: {failure.error}", style="red"))
    return Group(*parts)


@dataclass(frozen=True)
class FittingTable:
    """A table with as many of its columns as there is room for, and what is left out in words."""

    table: TextTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.table
        count = len(table.headings)
        endless = options.update(max_width=10_000)
        while count > 2 and Measurement.get(console, endless, as_rich(_cut(table, count))).maximum > options.max_width:
            count -= 1
        yield as_rich(_cut(table, count))
        if left_out := table.headings[count:]:
            yield Text(f"no room for: {', '.join(left_out)}", style="dim")
        yield Text("")


def as_rich(table: TextTable) -> Table:
    """The table with tiers and verdicts in colour; file names are shown as they are, never taken for markup."""
    result = Table(title=escape(table.title), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for number, heading in enumerate(table.headings):
        text = escape(heading.replace(" (", "\n("))  # the unit below the name
        if number == 0:
            result.add_column(text, overflow="fold", max_width=_NAME_WIDTH)
        else:
            result.add_column(text, justify="right", no_wrap=True)
    for row in table.rows:
        result.add_row(*(Text(cell, style=_COLOURS.get(cell.removesuffix(DOUBT), "")) for cell in row))
    return result


def _cut(table: TextTable, count: int) -> TextTable:
    """The first `count` columns."""
    return TextTable(table.title, table.headings[:count], tuple(row[:count] for row in table.rows))
