"""The table of the page: one row a take, columns from the quantities, cells that can be shown and sorted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heartopt.metrics.quantity import Quantity
from heartopt.report.listening.takes import Excerpt, drawable

MISSING = "–"
_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "zero": "nearer to zero is better", None: ""}
_SIGNS = {"lower": "↓", "higher": "↑", "zero": "→ 0", None: ""}


@dataclass(frozen=True)
class Column:
    """A heading: the quantity's name, its unit with the sign of its better direction, and both in words."""

    name: str
    note: str
    about: str
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
    known = [quantities.get(name) or Quantity(name, "") for name in names]
    rows = []
    for index, excerpt in enumerate(excerpts):
        best = [_best(excerpt, quantity) for quantity in known]
        for number, take in enumerate(excerpt.takes, 1):
            cells = tuple(
                _cell(take.metrics.get(quantity.name), quantity, None if take.control else good)
                for quantity, good in zip(known, best, strict=True)
            )
            rows.append(Row(index, number, cells))
    return Table(tuple(_column(quantity) for quantity in known), tuple(rows))


def _column(quantity: Quantity) -> Column:
    note = " ".join(part for part in (quantity.unit, _SIGNS[quantity.better]) if part)
    about = ". ".join(part.rstrip(".") for part in (quantity.about, _DIRECTIONS[quantity.better]) if part)
    return Column(drawable(quantity.name), drawable(note), drawable(about), quantity.better or "")


def _cell(value: float | str | None, quantity: Quantity, best: float | None) -> Cell:
    if isinstance(value, str):
        return Cell(drawable(value), "")
    if value is None or not math.isfinite(value):
        return Cell(MISSING, "")
    text = _number(value, quantity)
    return Cell(text, repr(float(value)), best is not None and text == _number(best, quantity))


def _number(value: float, quantity: Quantity) -> str:
    return f"{value:.{quantity.decimals}f}".replace("-", "−")


def _best(excerpt: Excerpt, quantity: Quantity) -> float | None:
    """The best value of the systems that are no controls; None for fewer than two, or where nothing is better."""
    values = [take.metrics.get(quantity.name) for take in excerpt.takes if not take.control]
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    if len(numbers) < 2 or quantity.better is None:
        return None
    if quantity.better == "zero":
        return min(numbers, key=abs)
    return min(numbers) if quantity.better == "lower" else max(numbers)
