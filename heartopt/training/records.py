"""Reading a run's records, whether they are the loop's own objects or lines of `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def entries(record: object) -> Mapping[str, Any]:
    """`record`'s entries by name: a mapping is itself, of a dataclass they are its fields; others have none."""
    if isinstance(record, Mapping):
        return record
    if not is_dataclass(record):
        return {}
    return {field.name: getattr(record, field.name) for field in fields(record)}


def number(value: object) -> float:
    """`value` as a float; NaN where it is no number, or an infinite one (JSON has neither and says null)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
    return found if math.isfinite(found) else math.nan


def mean(values: object) -> float:
    """The mean of a list of numbers, such as one for each codebook; NaN where it is no such list."""
    if not isinstance(values, (list, tuple)) or not values:
        return math.nan
    return sum(map(number, values)) / len(values)


def numbers(values: object) -> dict[str, float]:
    """The entries of a mapping that are finite numbers; none where it is no mapping."""
    if not isinstance(values, Mapping):
        return {}
    found = {str(name): number(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}
