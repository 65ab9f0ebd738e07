"""What the regression gate found, as a line and as a table of text: what every report of it shows alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from heartopt.evaluation.gate import FILES, Comparison, Verdict
from heartopt.metrics import quantity
from heartopt.report.tables import MISSING, TextTable

_HEADINGS = ("system", "metric", "baseline", "now", "worse by", "95 % interval", "tolerance", "files", "worst file")


def verdict_line(verdict: Verdict) -> str:
    """Whether the gate holds, in one line."""
    count, failed = len(verdict.comparisons), len(verdict.regressions)
    if not failed:
        return f"The regression gate holds: none of {count} comparisons is worse than the baseline."
    return f"The regression gate fails: {failed} of {count} comparisons are worse than the baseline, or missing."


def comparison_table(comparisons: Sequence[Comparison], title: str) -> TextTable:
    """One row a comparison: means over the files that both runs have, by how much it is worse, how sure that is."""
    return TextTable(title, _HEADINGS, tuple(_row(entry) for entry in comparisons))


def regression_table(verdict: Verdict) -> TextTable | None:
    """What fails the gate; None where it holds."""
    return comparison_table(verdict.regressions, "What got worse") if verdict.regressions else None


def describe(comparison: Comparison) -> str:
    """A comparison as one sentence, such as `stft of projection: 1.83 became 2.10, worse by 0.270 […]`."""
    system, metric, then, now, worse, interval, tolerance, files, worst = _row(comparison)
    if comparison.missing and not math.isfinite(comparison.low):
        return f"{metric} of {system}: {comparison.missing}"
    if comparison.metric == FILES:
        return f"{metric} of {system}: judged on all {then}"
    return (
        f"{metric} of {system}: {then} became {now}, worse by {worse} {interval}, tolerance {tolerance}, "
        f"over {files} files, worst on {worst}"
    )


def _row(entry: Comparison) -> tuple[str, ...]:
    places = 0 if entry.metric == FILES else quantity(entry.metric).decimals
    values = [_text(value, places) for value in (entry.baseline, entry.now)]
    fine = places if entry.metric == FILES else places + 1  # differences are smaller than what they are of
    interval = f"[{entry.low:+.{fine}f}, {entry.high:+.{fine}f}]" if math.isfinite(entry.low) else MISSING
    worst = entry.missing if entry.missing and not math.isfinite(entry.low) else entry.worst or MISSING
    worse, tolerance = _text(entry.worse_by, fine, "+"), _text(entry.tolerance, fine)
    return (entry.system, entry.metric, *values, worse, interval, tolerance, str(entry.files), worst)


def _text(value: float, places: int, sign: str = "") -> str:
    return f"{value:{sign}.{places}f}" if math.isfinite(value) else MISSING
