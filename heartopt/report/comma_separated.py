"""An evaluation as comma-separated values: its rows, and what they amount to."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from heartopt.evaluation import Evaluation
from heartopt.metrics import quantity

_FIRST = ("file", "system", "tier")
_DIGITS = 7  # that a computed figure is written with: enough for anybody, and the same on every machine
_SUMMARY = (
    *("over", "system", "metric", "unit", "better", "mean", "low", "high", "files", "tier", "overlaps", "worst"),
    *("against", "difference", "difference_low", "difference_high", "effect", "p"),
)


def rows_csv(evaluation: Evaluation) -> str:
    """One line for each file and system; an empty cell where there is no value, or NaN."""
    columns = [*_FIRST, *evaluation.metrics]
    if any(row.get("note") for row in evaluation.rows):
        columns.append("note")
    return _text(columns, evaluation.rows)


def summary_csv(evaluation: Evaluation) -> str:
    """One line for each system and metric: mean, interval, tier, controls that overlap, worst file, paired difference.

    `over` says whether it is a mean over `files`, or counted over the whole `suite` (codes, the Fréchet distance).
    """
    apart = {(entry.system, entry.metric): entry for entry in evaluation.differences}
    lines = []
    for entry in evaluation.summary:
        line: dict[str, Any] = {
            **{"over": "files", "system": entry.system, "metric": entry.metric, "files": entry.count},
            **{"mean": entry.mean, "low": entry.low, "high": entry.high, "tier": entry.tier},
            **{"overlaps": " ".join(entry.overlaps), "worst": entry.worst},
        }
        if other := apart.get((entry.system, entry.metric)):
            line |= {"against": other.baseline, "difference": other.mean, "difference_low": other.low}
            line |= {"difference_high": other.high, "effect": other.effect, "p": other.p}
        lines.append(line)
    for record in evaluation.corpus:
        found = {"over": "suite", "system": record["system"]}
        lines += [{**found, "metric": name, "mean": value} for name, value in record.items() if name != "system"]
    return _text(_SUMMARY, ({**line, **_meaning(line["metric"])} for line in lines), _rounded)


def _meaning(metric: str) -> dict[str, Any]:
    found = quantity(metric)
    return {"unit": found.unit, "better": found.better}


def _text(columns: Sequence[str], lines: Iterable[Mapping[str, Any]], cell: Any = None) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: (cell or _cell)(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _rounded(value: Any) -> Any:
    return _cell(value if not isinstance(value, float) or math.isnan(value) else f"{value:.{_DIGITS}g}")
