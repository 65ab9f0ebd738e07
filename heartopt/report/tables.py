"""An evaluation as tables of text: what the terminal and the Markdown show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heartopt.evaluation import Difference, Evaluation
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics.tiers import TIER_METRIC

UNITS: Mapping[str, str] = {
    "stft": "↓",
    "stft_log1p": "↓",
    "mel": "decades ↓",
    "mel_log1p": "↓",
    "si_sdr": "dB ↑",
    "shimmer_db": "dB → 0",
    "shimmer_excess": "share → 0",
    "pesq_wb": "MOS ↑",
    "pesq_nb": "MOS ↑",
    "usage": "share",
    "perplexity": "codes",
    "rtf": "× ↓",
}
MISSING = "–"
_DECIMALS = {"si_sdr": 1, "shimmer_db": 1, "shimmer_excess": 3, "perplexity": 1, "rtf": 3, "usage": 3}


@dataclass(frozen=True)
class TextTable:
    """A title, the columns' headings and the rows' cells."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def summary_table(
    evaluation: Evaluation, *, metrics: Sequence[str] = tuple(UNITS), intervals: Sequence[str] = tuple(UNITS)
) -> TextTable:
    """One row a system: each metric's mean, the interval of some, and the tier; controls below the systems."""
    metrics = _shown(evaluation, metrics)
    files = {row["file"] for row in evaluation.rows}
    rows = [
        (
            label(name),
            *_tier(evaluation, name),
            *(_mean(evaluation, name, metric, metric in intervals) for metric in metrics),
        )
        for name in _ordered(evaluation)
    ]
    tiered = ("tier",) if TIER_METRIC in metrics else ()
    title = f"Means over {len(files)} files [95 % bootstrap interval]"
    return TextTable(title, ("system", *tiered, *(heading(metric) for metric in metrics)), tuple(rows))


def file_table(evaluation: Evaluation) -> TextTable:
    """One row for each file and system."""
    metrics = _shown(evaluation)
    tiered = TIER_METRIC in metrics
    rows = tuple(
        (
            row["file"],
            label(row["system"]),
            *((str(row.get("tier", MISSING)),) if tiered else ()),
            *(cell(row.get(metric), metric) for metric in metrics),
        )
        for row in evaluation.rows
    )
    headings = ("file", "system", *(("tier",) if tiered else ()), *(heading(metric) for metric in metrics))
    return TextTable("Every file", headings, rows)


def difference_table(evaluation: Evaluation, *, metrics: Sequence[str] = tuple(UNITS)) -> TextTable | None:
    """Paired differences against the baseline, metric by metric; None where there are none."""
    shown = _shown(evaluation, metrics)
    found = [entry for entry in evaluation.differences if entry.metric in shown]
    if not found:
        return None
    rows = tuple((entry.system, entry.metric, _difference(entry), _verdict(entry)) for entry in found)
    files = max(entry.files for entry in found)
    title = f"Paired differences from {found[0].baseline} over {files} files [95 % bootstrap interval]"
    return TextTable(title, ("system", "metric", "mean difference", "interval"), rows)


def level_table(evaluation: Evaluation) -> TextTable | None:
    """Usage and perplexity of each level, one row a system; None where no system makes tokens."""
    names = [name for name in evaluation.metrics if name.startswith(("usage_", "perplexity_"))]
    levels = sorted({int(name.rsplit("_", 1)[1]) for name in names})
    if not levels:
        return None
    rows = tuple(
        (label(name), *(_level(evaluation, name, level) for level in levels))
        for name in _ordered(evaluation)
        if evaluation.find(name, f"usage_{levels[0]}")
    )
    headings = ("system", *(f"level {level}" for level in levels))
    return TextTable("Codes by level: share of the codebook used in a file / perplexity (means)", headings, rows)


def control_figures(evaluation: Evaluation) -> tuple[tuple[str, float], ...]:
    """The controls' mean `stft`, lowest first."""
    found = [(name, evaluation.find(name, TIER_METRIC)) for name in evaluation.systems if name in CONTROLS]
    return tuple(sorted(((name, entry.mean) for name, entry in found if entry), key=lambda pair: pair[1]))


def heading(metric: str) -> str:
    """A metric's name with its unit and direction."""
    return f"{metric} ({UNITS[metric]})" if metric in UNITS else metric


def label(system: str) -> str:
    """A system's name; controls say that they are."""
    return f"control: {system}" if system in CONTROLS else system


def cell(value: Any, metric: str) -> str:
    """A value as text: a fixed number of decimals, words as they are, a dash for nothing and NaN."""
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{_decimals(metric)}f}"


def _decimals(metric: str) -> int:
    return _DECIMALS.get(metric, 2)


def _shown(evaluation: Evaluation, metrics: Sequence[str] = tuple(UNITS)) -> tuple[str, ...]:
    """The metrics that the evaluation has, in their order."""
    return tuple(metric for metric in metrics if metric in evaluation.metrics)


def _ordered(evaluation: Evaluation) -> tuple[str, ...]:
    """Systems as they came, controls last."""
    return tuple(sorted(evaluation.systems, key=lambda name: name in CONTROLS))


def _tier(evaluation: Evaluation, system: str) -> tuple[str, ...]:
    if TIER_METRIC not in evaluation.metrics:
        return ()
    entry = evaluation.find(system, TIER_METRIC)
    return (entry.tier if entry and entry.tier else MISSING,)


def _mean(evaluation: Evaluation, system: str, metric: str, interval: bool) -> str:
    entry = evaluation.find(system, metric)
    if entry is None or not math.isfinite(entry.mean):
        return _word(evaluation.rows, system, metric)
    text = cell(entry.mean, metric)
    if interval and math.isfinite(entry.low):
        text += f" [{cell(entry.low, metric)}, {cell(entry.high, metric)}]"
    return text


def _word(rows: Sequence[Mapping[str, Any]], system: str, metric: str) -> str:
    """What the rows say in place of numbers."""
    values = (row.get(metric) for row in rows if row["system"] == system)
    return next((value for value in values if isinstance(value, str)), MISSING)


def _level(evaluation: Evaluation, system: str, level: int) -> str:
    pair = [(name, evaluation.find(system, f"{name}_{level}")) for name in ("usage", "perplexity")]
    return " / ".join(cell(entry.mean if entry else None, name) for name, entry in pair)


def _difference(entry: Difference) -> str:
    return f"{entry.mean:+.{_decimals(entry.metric)}f}"


def _verdict(entry: Difference) -> str:
    if not math.isfinite(entry.low):
        return "unknown (one file)"
    places = _decimals(entry.metric)
    text = f"[{entry.low:+.{places}f}, {entry.high:+.{places}f}]"
    return text if entry.clear else f"{text} includes 0"
