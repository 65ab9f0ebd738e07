"""The regression gate: an evaluation held against a stored one, file by file, for each system and metric.

What gates: every metric of the baseline's rows that has a better direction. What only describes (usage, perplexity)
never gates. What a system costs (time, memory, bitrate) hangs on the machine and on other people's software, and gates
only where a tolerance is given for it. Controls never gate. Figures of the whole suite (the Fréchet distance) have no
pairs and do not gate.

What fails: a metric that is worse (`worsening_interval`); a file or a system that the baseline has and the run lacks;
a metric that had numbers and now has none on any file. A gate that passes because nothing was measured is worth
nothing, so what the baseline has, the run must measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from heartopt.errors import ConfigError
from heartopt.evaluation.baseline import Baseline, is_control, read_baseline, write_baseline
from heartopt.evaluation.results import Evaluation, Row
from heartopt.evaluation.statistics import COVERAGE, Interval
from heartopt.metrics import quantity
from heartopt.metrics.quantities import COST

__all__ = [
    "FILES",
    "Baseline",
    "Comparison",
    "Regression",
    "Verdict",
    "compare",
    "find_regressions",
    "parse_tolerances",
    "read_baseline",
    "worsening_interval",
    "write_baseline",
]

#: The comparison that every system has: how many of the baseline's files it was judged on.
FILES = "files"
#: With fewer files than these all of them must agree.
FEW_FILES = 5
_COST = frozenset(entry.name for entry in COST)

_Rows = Mapping[str, Mapping[str, Row]]  # system -> file -> row


@dataclass(frozen=True)
class Comparison:
    """One system's metric now, against the baseline's on the same files.

    Attributes:
        system, metric: what is compared; the metric `FILES` counts the files that were judged.
        baseline, now: means over the `files` that both have; NaN where there are none.
        worse_by: mean over these files by how much now is worse, negative where it is better, in the metric's unit.
        low, high: its interval, see `worsening_interval`.
        tolerance: up to so much worse is not worth a word.
        files: how many files both have numbers for.
        worst: the file that got worst; "" where there is none.
        missing: what could not be compared, in words; "" where all could.
    """

    system: str
    metric: str
    baseline: float
    now: float
    worse_by: float
    low: float
    high: float
    tolerance: float
    files: int
    worst: str = ""
    missing: str = ""


class Regression(Comparison):
    """A comparison that fails the gate: worse beyond doubt and tolerance, or not measured any more."""


@dataclass(frozen=True)
class Verdict:
    """All comparisons, in the baseline's order, and what else should be known, one sentence each."""

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Regression, ...]:
        """The comparisons that fail the gate."""
        return tuple(entry for entry in self.comparisons if isinstance(entry, Regression))


def find_regressions(
    evaluation: Evaluation, baseline: Baseline, tolerances: Mapping[str, float] | None = None
) -> tuple[Regression, ...]:
    """What got worse, or is missing; empty where the gate holds. Arguments and errors as `compare`."""
    return compare(evaluation, baseline, tolerances).regressions


def compare(evaluation: Evaluation, baseline: Baseline, tolerances: Mapping[str, float] | None = None) -> Verdict:
    """Hold an evaluation against a baseline.

    A metric is worse when its interval lies above zero and its mean worsening exceeds its tolerance: the registry's,
    or the baseline's own, or the one given here, which wins. Where the better direction is zero, distances from zero
    are compared. Values below a quantity's floor count as the floor. A file without a number on either side does not
    count for that metric.

    Args:
        tolerances: metric -> tolerance in its unit; 0 or more. Infinity: the metric does not gate.

    Raises:
        ConfigError: another suite, codec or decoding than the baseline's; a tolerance for what the baseline has not,
            or for what only describes, or a negative one.
    """
    baseline.check(evaluation)
    chosen = {**baseline.tolerances, **(tolerances or {})}
    _check_tolerances(chosen, baseline.rows)
    then, now = _by_system(baseline.rows), _by_system(evaluation.rows)
    found: list[Comparison] = []
    for system, before in then.items():
        after = now.get(system, {})
        found.append(_compare_files(system, before, after, evaluation))
        common = [file for file in before if file in after]
        for metric in dict.fromkeys(key for row in before.values() for key in row):
            tolerance = _tolerance(metric, chosen)
            if tolerance is not None and common:
                found.extend(_compare_metric(system, metric, [(f, before[f], after[f]) for f in common], tolerance))
    return Verdict(tuple(found), tuple(_notes(then, now, found)))


def worsening_interval(values: Sequence[float]) -> Interval:
    """Mean of the paired worsenings, one a file, and the interval that must lie above zero.

    From five files on it is Student's 95 % interval of the mean. The percentile bootstrap of the reports is too
    narrow for a gate on few files: on normal values it covers the true mean in 82 % of cases with five files and 90 %
    with ten, and would call every twelfth to twenty-fifth comparison worse that is equal.

    With two to four files Student's interval is so wide (12.7 standard errors for two) that a broken codec could pass
    if it breaks the files to different degrees. There it is the range of the files: all of them must be worse. By
    chance that happens to an equal system in a quarter of cases with two files and a sixteenth with four, so the
    tolerance, which is set above what other decoder noise does, carries more of the decision. With one file it
    carries all of it.
    """
    known = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    count = int(known.size)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    if count < FEW_FILES:
        return Interval(mean, float(known.min()), float(known.max()), count)
    reach = float(stats.t.ppf((1 + COVERAGE) / 2, count - 1) * known.std(ddof=1) / math.sqrt(count))
    return Interval(mean, mean - reach, mean + reach, count)


def parse_tolerances(texts: Sequence[str]) -> dict[str, float]:
    """`["stft=0.02", "pesq_wb=off"]` -> `{"stft": 0.02, "pesq_wb": inf}`; "off": the metric does not gate.

    Raises:
        ConfigError: no `metric=number`, or a number below 0.
    """
    found = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        try:
            number = math.inf if value == "off" else float(value)
        except ValueError:
            number = math.nan
        if not name or not number >= 0:
            raise ConfigError(f"tolerance {text!r}: write METRIC=NUMBER, the number 0 or more, or METRIC=off")
        found[name] = number
    return found


def _check_tolerances(tolerances: Mapping[str, float], rows: Sequence[Row]) -> None:
    known = list(dict.fromkeys(key for row in rows for key in row if _tolerance(key, {key: 0.0}) is not None))
    for name, value in tolerances.items():
        if name not in known:
            has = ", ".join(known) or "none"
            raise ConfigError(f"tolerance of {name}: the baseline has no such metric to gate; it has {has}")
        if not value >= 0:
            raise ConfigError(f"tolerance of {name}: must be 0 or more, not {value:g}")


def _tolerance(metric: str, chosen: Mapping[str, float]) -> float | None:
    """The tolerance of a metric; None where it does not gate."""
    found = quantity(metric)
    if found.better is None or (metric in _COST and metric not in chosen):
        return None
    value = chosen.get(metric, found.tolerance)
    return None if math.isinf(value) else value


def _by_system(rows: Sequence[Row]) -> _Rows:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if not is_control(row):
            found.setdefault(row["system"], {})[row["file"]] = row
    return found


def _compare_files(
    system: str, before: Mapping[str, Row], after: Mapping[str, Row], evaluation: Evaluation
) -> Comparison:
    """Whether the system was judged on each of the baseline's files."""
    lost = [file for file in before if file not in after]
    missing = _why_missing(system, lost, evaluation, ran=bool(after)) if lost else ""
    return (Regression if lost else Comparison)(
        system=system,
        metric=FILES,
        baseline=len(before),
        now=len(before) - len(lost),
        worse_by=len(lost),
        low=math.nan,
        high=math.nan,
        tolerance=0.0,
        files=len(before) - len(lost),
        worst=lost[0] if lost else "",
        missing=missing,
    )


def _why_missing(system: str, lost: Sequence[str], evaluation: Evaluation, *, ran: bool) -> str:
    if not ran and not any(entry.system in (system, None) for entry in evaluation.failed):
        return "the run lacks this system"
    errors = {(entry.file, entry.system): entry.error for entry in evaluation.failed}
    reasons = [errors.get((file, system)) or errors.get((file, None)) for file in lost]
    words = (f"{file} ({reason})" if reason else file for file, reason in zip(lost, reasons, strict=True))
    return f"not judged on {', '.join(words)}"


def _compare_metric(
    system: str, metric: str, rows: Sequence[tuple[str, Row, Row]], tolerance: float
) -> Iterator[Comparison]:
    """The comparison, if the baseline has numbers for it; `rows` are the files' names, then theirs, then ours."""
    had = [(file, _number(old.get(metric)), new.get(metric)) for file, old, new in rows]
    had = [entry for entry in had if math.isfinite(entry[1])]
    if not had:
        return
    pairs = [(file, old, _number(new)) for file, old, new in had if math.isfinite(_number(new))]
    found = quantity(metric)
    values = [found.worsening(max(new, found.floor), max(old, found.floor)) for _, old, new in pairs]
    interval = worsening_interval(values)
    counted = {file for file, _, _ in pairs}
    lost = [(file, new) for file, _, new in had if file not in counted]
    regressed = not pairs or (interval.low > 0 and interval.mean > tolerance)
    yield (Regression if regressed else Comparison)(
        system=system,
        metric=metric,
        baseline=_mean([old for _, old, _ in pairs or had]),
        now=_mean([new for _, _, new in pairs]),
        worse_by=interval.mean,
        low=interval.low,
        high=interval.high,
        tolerance=tolerance,
        files=len(pairs),
        worst=pairs[int(np.argmax(values))][0] if pairs else "",
        missing=_why_lost(lost),
    )


def _why_lost(lost: Sequence[tuple[str, object]]) -> str:
    """Which files have no number any more, and the word that their rows have in place of it."""
    if not lost:
        return ""
    word = next((value for _, value in lost if isinstance(value, str)), "no number")
    return f"{word} on {', '.join(file for file, _ in lost)}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _notes(then: _Rows, now: _Rows, found: Sequence[Comparison]) -> Iterator[str]:
    if new := [system for system in now if system not in then]:
        yield f"not in the baseline, so not compared: {', '.join(new)}"
    for entry in found:
        if entry.missing and not isinstance(entry, Regression):
            yield f"{entry.system}, {entry.metric}: {entry.missing}"
    if few := [entry.files for entry in found if 0 < entry.files < FEW_FILES]:
        yield f"few files ({min(few)}): a metric counts as worse where it is worse on all of them"
