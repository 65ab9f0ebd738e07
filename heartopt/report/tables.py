"""An evaluation as tables of text: what the terminal and the Markdown show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heartopt.evaluation import Difference, Evaluation
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics import METRICS, quantity
from heartopt.metrics.tiers import TIER_METRIC

MISSING = "–"
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
_COST = ("rtf", "tokens_per_second", "kbps", "peak_mb")
_CORPUS = ("usage", "perplexity", "entropy", "dead", "bitrate", "repetition", "novelty", "trigram_novelty", "fad")
_LEVEL = ("usage", "perplexity", "entropy", "dead", "repetition", "novelty")


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

    A tier that the controls reach too is marked, see `not_told_apart`.
    """
    metrics = _shown(evaluation, metrics)
    wide = metrics if intervals is None else intervals
    files = {row["file"] for row in evaluation.rows}
    rows = [
        (
            label(name),
            *((_tier(evaluation, name),) if TIER_METRIC in metrics else ()),
            *(_mean(evaluation, name, metric, metric in wide) for metric in metrics),
        )
        for name in _ordered(evaluation)
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
        if title != "Main figures" and (shown := _shown(evaluation, names)):
            table = summary_table(evaluation, metrics=shown)
            found.append(TextTable(title, table.headings, table.rows))
    return tuple(found)


def not_told_apart(evaluation: Evaluation) -> tuple[str, ...]:
    """A sentence for each system whose tier metric a control reaches: its tier is not to be believed."""
    found = []
    for name in _ordered(evaluation):
        entry = evaluation.find(name, TIER_METRIC)
        if entry and entry.overlaps:
            controls = ", ".join(entry.overlaps)
            found.append(f"{name} is not clearly better than {controls}: their intervals of {TIER_METRIC} overlap")
    return tuple(found)


def file_table(evaluation: Evaluation, *, metrics: Sequence[str] = FAMILIES["Main figures"]) -> TextTable:
    """One row for each file and system, with the row's note where it has one."""
    metrics = _shown(evaluation, metrics)
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


def difference_table(evaluation: Evaluation, *, metrics: Sequence[str] | None = None) -> TextTable | None:
    """Paired differences from one system, metric by metric; None where there are none."""
    wanted = set(METRICS if metrics is None else metrics)
    found = [entry for entry in evaluation.differences if entry.metric in wanted]
    if not found:
        return None
    rows = tuple(
        (label(entry.system), entry.metric, _difference(entry), _interval(entry), _decimal(entry.effect), _p(entry.p))
        for entry in found
    )
    files = max(entry.files for entry in found)
    title = f"Paired differences from {found[0].baseline} over {files} files [95 % bootstrap interval]"
    return TextTable(title, ("system", "metric", "mean difference", "interval", "effect d", "p"), rows)


def worst_table(evaluation: Evaluation, *, metrics: Sequence[str] = ("stft", "mel", "shimmer_db")) -> TextTable | None:
    """The file where each system is worst by some metrics, with its value; None where no file has one."""
    metrics = _shown(evaluation, metrics)
    rows = []
    for name in _ordered(evaluation):
        if name not in CONTROLS:
            cells = tuple(_worst(evaluation, name, metric) for metric in metrics)
            rows.append((label(name), *cells))
    if not metrics or all(value == MISSING for row in rows for value in row[1:]):
        return None
    return TextTable("Worst files", ("system", *(quantity(metric).heading for metric in metrics)), tuple(rows))


def corpus_table(evaluation: Evaluation) -> TextTable | None:
    """What is counted over the whole suite: all codes together, and the Fréchet distance; None where nothing is."""
    metrics = [name for name in _CORPUS if any(name in entry for entry in evaluation.corpus)]
    if not metrics:
        return None
    rows = tuple(
        (label(entry["system"]), *(cell(entry.get(metric), metric) for metric in metrics))
        for entry in _controls_last(evaluation.corpus)
    )
    title = "Over the whole suite: codes of all files together, Fréchet distance"
    return TextTable(title, ("system", *(quantity(metric).heading for metric in metrics)), rows)


def level_table(evaluation: Evaluation) -> TextTable | None:
    """Codes of the whole suite level by level, one row a system and quantity; None where no system makes tokens."""
    levels = sorted({int(key.rsplit("_", 1)[1]) for entry in evaluation.corpus for key in entry if _is_level(key)})
    if not levels:
        return None
    rows = []
    for entry in _controls_last(evaluation.corpus):
        for name in _LEVEL:
            if f"{name}_{levels[0]}" in entry:
                cells = (cell(entry.get(f"{name}_{level}"), name) for level in levels)
                rows.append((label(entry["system"]), quantity(name).heading, *cells))
    return TextTable("Codes by level", ("system", "quantity", *(f"level {n}" for n in levels)), tuple(rows))


def cost_table(evaluation: Evaluation) -> TextTable | None:
    """Time, memory and bits of each system; None where nothing of it was measured."""
    metrics = _shown(evaluation, _COST)
    if not metrics:
        return None
    rows = tuple(
        (label(name), *(_mean(evaluation, name, metric, interval=False) for metric in metrics))
        for name in _ordered(evaluation)
        if name not in CONTROLS
    )
    return TextTable("Cost", ("system", *(quantity(metric).heading for metric in metrics)), rows)


def control_figures(evaluation: Evaluation) -> tuple[tuple[str, float], ...]:
    """The controls' mean `stft`, lowest first."""
    found = [(name, evaluation.find(name, TIER_METRIC)) for name in evaluation.systems if name in CONTROLS]
    return tuple(sorted(((name, entry.mean) for name, entry in found if entry), key=lambda pair: pair[1]))


def label(system: str) -> str:
    """A system's name; controls say that they are."""
    return f"control: {system}" if system in CONTROLS else system


def cell(value: Any, metric: str) -> str:
    """A value as text: a fixed number of decimals, words as they are, a dash for nothing and NaN."""
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{quantity(metric).decimals}f}"


def _is_level(key: str) -> bool:
    stem, _, level = key.rpartition("_")
    return stem in _LEVEL and level.isdigit()


def _shown(evaluation: Evaluation, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics that the evaluation has, in their order."""
    return tuple(metric for metric in metrics if metric in evaluation.metrics)


def _ordered(evaluation: Evaluation) -> tuple[str, ...]:
    """Systems as they came, controls last."""
    return tuple(sorted(evaluation.systems, key=lambda name: name in CONTROLS))


def _controls_last(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(records, key=lambda entry: entry["system"] in CONTROLS)


def _tier(evaluation: Evaluation, system: str) -> str:
    entry = evaluation.find(system, TIER_METRIC)
    if not entry or not entry.tier:
        return MISSING
    return f"{entry.tier} (like {', '.join(entry.overlaps)})" if entry.overlaps else entry.tier


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


def _worst(evaluation: Evaluation, system: str, metric: str) -> str:
    entry = evaluation.find(system, metric)
    if entry is None or entry.worst is None:
        return MISSING
    row = next(row for row in evaluation.rows if (row["system"], row["file"]) == (system, entry.worst))
    return f"{entry.worst}: {cell(row[metric], metric)}"


def _difference(entry: Difference) -> str:
    return f"{entry.mean:+.{_fine(entry)}f}"


def _interval(entry: Difference) -> str:
    if not math.isfinite(entry.low):
        return "unknown (one file)"
    places = _fine(entry)
    text = f"[{entry.low:+.{places}f}, {entry.high:+.{places}f}]"
    return text if entry.clear else f"{text} includes 0"


def _fine(entry: Difference) -> int:
    """Differences are smaller than what they are of."""
    return quantity(entry.metric).decimals + 1


def _decimal(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else MISSING


def _p(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
