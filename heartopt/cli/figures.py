"""Figures of a run on a terminal: numbers in few columns, tables of them, and a progress bar."""

from __future__ import annotations

import math

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

#: Where there is no figure (yet).
NONE = "–"


def figures_table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True, min_width=9)
    return table


def bar(label: str, total: float, done: float, words: str, width: int) -> Table:
    """A label, a bar, the share and some words, on one line where there is room, else with the words below."""
    known = total > 0
    bar = ProgressBar(total=total if known else None, completed=done, pulse=not known)
    share = f"{math.floor(100 * done / total):3d} %" if known else ""
    grid = Table.grid(padding=(0, 1))
    grid.width = width
    beside = width >= len(label) + len(words) + 24
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    if beside:
        grid.add_column(no_wrap=True)
        grid.add_row(label, bar, share, Text(words))
        return grid
    grid.add_row(label, bar, share)
    both = Table.grid()
    both.width = width
    both.add_row(grid)
    both.add_row(Text(words, overflow="fold"))
    return both


def figure(value: float, form: str = "") -> str:
    """A number in few columns, in `form` or in four decimals; very small and large ones with an exponent."""
    if math.isnan(value):
        return NONE
    if form:
        return form.format(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def count(value: float) -> str:
    """A mean count, to the whole number."""
    return figure(value, "{:.0f}")


def duration(seconds: float) -> str:
    """`h:mm:ss`, with days before it from the first day on."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hour}:{minute:02d}:{second:02d}"


def printable(text: str) -> str:
    """`text` with whatever could move a terminal's cursor, or cannot be encoded, as a question mark."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
