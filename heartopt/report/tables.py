"""An evaluation as tables of text: what the terminal and the Markdown show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heartopt.evaluation import Difference, Evaluation
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics import METRICS, quantity
from heartopt.metrics.tiers import TIER_METRIC, TIERS

MISSING = "–"
#: Behind a tier that a control reaches too.
DOUBT = ", in doubt"
#: Metrics by family: no table is too wide to read. What is in none of them comes under "Other".
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Main figures": ("stft", "mel", "si_sdr", "loudness_db", "shimmer_db", "pesq_wb"),
    "Spectrum": (
        *("stft_512", "stft_1024", "stft_2048", "stft_sc", "stft_log"),
        *("stft_log1p", "stft_phase", "stft_hf", "lsd"),
    ),
    "Mel and waveform": ("mel_multi", "mel_log1p", "si_sdr_aligned", "delay_ms"),
    "Shimmer": ("shimmer_band_db", "shimmer_excess", "shimmer_db_deshimmered", "shimmer_excess_deshimmered"),
    "Predicted opinion": ("pesq_nb", "stoi", "visqol"),
}


@dataclass(frozen=True)
class TextTable:
    """A title, the columns' headings and the rows' cells."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def summary_table(
    evaluation: Evaluation, *, metrics: Sequence[str] = FAMILIES["Main figures"], intervals: Sequence[str] | None = None
) -> TextTable:
    """One row a system: the tier, each metric's mean and interval (of `intervals`, or all); controls come last.

    A tier that a control reaches too is marked, see `doubts`.
    """
    metrics = shown(evaluation, metrics)
    wide = metrics if intervals is None else intervals
    files = {row["file"] for row in evaluation.rows}
    rows = [
        (
            label(name),
            *((_tier(evaluation, name),) if TIER_METRIC in metrics else ()),
            *(mean_cell(evaluation, name, metric, metric in wide) for metric in metrics),
        )
        for name in ordered(evaluation)
    ]
    tiered = ("tier",) if TIER_METRIC in metrics else ()
    title = f"Means over {len(files)} files [95 % bootstrap interval]"
    return TextTable(title, ("system", *tiered, *(quantity(metric).heading for metric in metrics)), tuple(rows))


def family_tables(evaluation: Evaluation) -> tuple[TextTable, ...]:
    """`summary_table` of each family but the main one, under its name; families that were not measured are left out."""
    listed = {name for names in FAMILIES.values() for name in names}
    others = tuple(name for name in evaluation.metrics if name in METRICS and name not in listed)
    found = []
    for title, names in {**FAMILIES, "Other": others}.items():
        if title != "Main figures" and shown(evaluation, names):
            found.append(replace(summary_table(evaluation, metrics=names), title=title))
    return tuple(found)


def doubts(evaluation: Evaluation) -> str | None:
    """In one sentence, the systems whose tier a control reaches too, and these controls; None where there is none."""
    entries = [entry for entry in evaluation.summary if entry.metric == TIER_METRIC]
    found = [f"{entry.system} ({', '.join(entry.overlaps)})" for entry in entries if entry.overlaps]
    if found:
        return f"In doubt, for a control's interval of {TIER_METRIC} overlaps theirs or is better: {'; '.join(found)}"
    controls = {entry.system for entry in entries} & set(CONTROLS)
    if controls and all(math.isnan(entry.high) for entry in entries):
        return "One file has no interval: no system is told from a control here"
    return None


def file_table(evaluation: Evaluation, *, metrics: Sequence[str] = FAMILIES["Main figures"]) -> TextTable:
    """One row for each file and system, with the row's note where it has one."""
    metrics = shown(evaluation, metrics)
    tiered = TIER_METRIC in metrics
    noted = any(row.get("note") for row in evaluation.rows)
    rows = tuple(
        (
            row["file"],
            label(row["system"]),
            *((str(row.get("tier", MISSING)),) if tiered else ()),
            *(cell(row.get(metric), metric) for metric in metrics),
            *((str(row.get("note") or ""),) if noted else ()),
        )
        for row in evaluation.rows
    )
    ends = (("note",) if noted else (), ("tier",) if tiered else ())
    headings = ("file", "system", *ends[1], *(quantity(metric).heading for metric in metrics), *ends[0])
    return TextTable("Every file", headings, rows)


def difference_table(
    evaluation: Evaluation, *, metrics: Sequence[str] | None = None, without: Sequence[str] = ()
) -> TextTable | None:
    """Paired differences from one system, metric by metric (all but `without`); None where there are none."""
    wanted = set(METRICS if metrics is None else metrics) - set(without)
    found = [entry for entry in evaluation.differences if entry.metric in wanted]
    if not found:
        return None
    files = {entry.files for entry in found}
    counted = len(files) > 1
    rows = tuple(
        (
            *(label(entry.system), entry.metric, *_difference(entry), fixed(entry.effect, 2, sign="+"), _p(entry.p)),
            *((str(entry.files),) if counted else ()),
        )
        for entry in found
    )
    title = f"Paired differences from {found[0].baseline} over {max(files)} files [95 % bootstrap interval]"
    headings = ("system", "metric", "difference", "interval", "verdict", "effect d", "p")
    return TextTable(title, (*headings, "files") if counted else headings, rows)


def worst_table(evaluation: Evaluation, *, metrics: Sequence[str] = ("stft", "mel", "shimmer_db")) -> TextTable | None:
    """The file where each system is worst by some metrics, with its value; None where no file has one."""
    metrics = shown(evaluation, metrics)
    rows = []
    for name in ordered(evaluation):
        if name not in CONTROLS:
            cells = tuple(_worst(evaluation, name, metric) for metric in metrics)
            rows.append((label(name), *cells))
    if not metrics or all(value == MISSING for row in rows for value in row[1:]):
        return None
    return TextTable("Worst files", ("system", *(quantity(metric).heading for metric in metrics)), tuple(rows))


def control_figures(evaluation: Evaluation) -> tuple[tuple[str, float], ...]:
    """The controls' mean `stft`, lowest first."""
    found = [(name, evaluation.find(name, TIER_METRIC)) for name in evaluation.systems if name in CONTROLS]
    return tuple(sorted(((name, entry.mean) for name, entry in found if entry), key=lambda pair: pair[1]))


def tier_words(evaluation: Evaluation) -> str:
    """The tiers with their borders, and where the controls fall."""
    borders = "; ".join(f"{tier.name} {tier.borders}" for tier in TIERS)
    text = f"By the mean {TIER_METRIC}: {borders}."
    if controls := control_figures(evaluation):
        text += f" Controls here: {', '.join(f'{name} {fixed(value, 2)}' for name, value in controls)}."
    return text


def label(system: str) -> str:
    """A system's name; controls say that they are."""
    return f"control: {system}" if system in CONTROLS else system


def cell(value: Any, metric: str) -> str:
    """A value as text: a fixed number of decimals, words as they are, a dash for nothing and NaN."""
    if isinstance(value, str):
        return value
    return MISSING if value is None else fixed(value, quantity(metric).decimals)


def fixed(value: float, places: int, *, sign: str = "") -> str:
    """A number with so many decimals, never `-0.00`; a dash for NaN and infinity."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:{sign}.{places}f}"
    return text.replace("-", sign) if float(text) == 0 else text


def mean_cell(evaluation: Evaluation, system: str, metric: str, interval: bool) -> str:
    """A mean over files with its interval, and how many files where not all have a number; else the rows' own word."""
    entry = evaluation.find(system, metric)
    if entry is None or not math.isfinite(entry.mean):
        return _word(evaluation.rows, system, metric)
    text = cell(entry.mean, metric)
    if interval and math.isfinite(entry.low):
        text += f" [{cell(entry.low, metric)}, {cell(entry.high, metric)}]"
    files = len({row["file"] for row in evaluation.rows})
    return text if entry.count == files else f"{text} (n {entry.count})"


def shown(evaluation: Evaluation, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics that the evaluation has, in their order."""
    return tuple(metric for metric in metrics if metric in evaluation.metrics)


def ordered(evaluation: Evaluation) -> tuple[str, ...]:
    """Systems as they came, controls last."""
    return tuple(sorted(evaluation.systems, key=lambda name: name in CONTROLS))


def _tier(evaluation: Evaluation, system: str) -> str:
    entry = evaluation.find(system, TIER_METRIC)
    if not entry or not entry.tier:
        return MISSING
    return f"{entry.tier}{DOUBT}" if entry.overlaps else entry.tier


def _word(rows: Sequence[Mapping[str, Any]], system: str, metric: str) -> str:
    """What the rows say in place of numbers."""
    values = (row.get(metric) for row in rows if row["system"] == system)
    return next((value for value in values if isinstance(value, str)), MISSING)


def _worst(evaluation: Evaluation, system: str, metric: str) -> str:
    entry = evaluation.find(system, metric)
    if entry is None or entry.worst is None:
        return MISSING
    row = next(row for row in evaluation.rows if (row["system"], row["file"]) == (system, entry.worst))
    return f"{entry.worst}: {cell(row[metric], metric)}"


def _difference(entry: Difference) -> tuple[str, str, str]:
    """Mean, interval, and what they say."""
    places = quantity(entry.metric).decimals + 1  # differences are smaller than what they are of
    mean, low, high = (fixed(value, places, sign="+") for value in (entry.mean, entry.low, entry.high))
    if not math.isfinite(entry.low):
        return mean, "unknown (one file)", MISSING
    return mean, f"[{low}, {high}]", _verdict(entry)


def _verdict(entry: Difference) -> str:
    """Whether it is better or worse; only its direction where nothing, or nearness to zero, is better."""
    if not entry.clear:
        return "includes 0"
    better = quantity(entry.metric).better
    if better in ("lower", "higher"):
        return "better" if (entry.mean < 0) == (better == "lower") else "worse"
    return "lower" if entry.mean < 0 else "higher"


def _p(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
