"""The table of the page: one row a take, columns from the quantities, cells that can be shown and sorted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heartopt.metrics import Metric, Quantity, quantity
from heartopt.report.listening.takes import Excerpt, drawable

MISSING = "–"
_DIRECTIONS = {"lower": "Lower is better", "higher": "Higher is better", "zero": "Nearer to zero is better", None: ""}
_SIGNS = {"lower": "↓", "higher": "↑", "zero": "→ 0", None: ""}


@dataclass(frozen=True)
class Column:
    """A heading.

    Attributes:
        name: the quantity's.
        note: its unit with the sign of its better direction.
        about: what it measures, and which way is better, in words.
        blind: what it does not hear, "" where nothing is known.
        better: "lower", "higher", "zero", or "" for what only describes.
    """

    name: str
    note: str
    about: str
    blind: str
    better: str


@dataclass(frozen=True)
class Cell:
    """What a cell shows; `value` is what it is sorted by, "" for what is no number; `best` of its excerpt's systems."""

    text: str
    value: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One take. `excerpt` and `take` are its numbers on the page (the original is take 0)."""

    excerpt: int
    take: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Columns and rows."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def make_table(excerpts: Sequence[Excerpt], quantities: Mapping[str, Quantity]) -> Table:
    """All takes with all of their metrics, in the metrics' order of appearance."""
    names = tuple(dict.fromkeys(name for excerpt in excerpts for take in excerpt.takes for name in take.metrics))
    kinds = [quantities.get(name) or quantity(name) for name in names]
    rows = []
    for index, excerpt in enumerate(excerpts):
        best = [_best(excerpt, kind) for kind in kinds]
        for number, take in enumerate(excerpt.takes, 1):
            cells = tuple(
                _cell(take.metrics.get(kind.name), kind, None if take.control else good)
                for kind, good in zip(kinds, best, strict=True)
            )
            rows.append(Row(index, number, cells))
    return Table(tuple(_column(kind) for kind in kinds), tuple(rows))


def _column(kind: Quantity) -> Column:
    note = " ".join(part for part in (kind.unit, _SIGNS[kind.better]) if part)
    about = "" if kind.about == kind.name else _plain(kind.about).rstrip(".")
    words = ". ".join(part for part in (about, _DIRECTIONS[kind.better]) if part)
    blind = _plain(kind.blind) if isinstance(kind, Metric) else ""
    return Column(drawable(kind.name), drawable(note), words, blind, kind.better or "")


def _plain(text: str) -> str:
    """Without Markdown's marks of code."""
    return drawable(text).replace("`", "")


def _cell(value: float | str | None, kind: Quantity, best: float | None) -> Cell:
    if isinstance(value, str):
        return Cell(drawable(value), "")
    if value is None or not math.isfinite(value):
        return Cell(MISSING, "")
    text = _number(value, kind)
    size = abs if kind.better == "zero" else float  # as near from either side is as good
    return Cell(text, repr(float(value)), best is not None and _number(size(value), kind) == _number(size(best), kind))


def _number(value: float, kind: Quantity) -> str:
    return f"{round(value, kind.decimals) + 0.0:.{kind.decimals}f}".replace("-", "−")  # + 0.0: no minus before a zero


def _best(excerpt: Excerpt, kind: Quantity) -> float | None:
    """The best value of the systems that are no controls; None for fewer than two, or where nothing is better."""
    values = [take.metrics.get(kind.name) for take in excerpt.takes if not take.control]
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    if len(numbers) < 2 or kind.better is None:
        return None
    if kind.better == "zero":
        return min(numbers, key=abs)
    return min(numbers) if kind.better == "lower" else max(numbers)
