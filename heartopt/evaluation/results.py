"""What an evaluation found: rows per file and system, and what they amount to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from heartopt.evaluation.statistics import Interval, mean_interval, paired_difference
from heartopt.evaluation.systems import BASELINE, CONTROLS
from heartopt.metrics.tiers import TIER_METRIC, tier

Row = Mapping[str, Any]

_NOT_AVERAGED = frozenset({"seconds", "wall_seconds"})


@dataclass(frozen=True)
class Summary:
    """One system's mean of one metric over files, its 95 % interval; the tier of the mean for `stft`."""

    system: str
    metric: str
    mean: float
    low: float
    high: float
    tier: str | None


@dataclass(frozen=True)
class Difference:
    """Mean over files of a system's metric minus the baseline's on the same file, and its 95 % interval."""

    system: str
    baseline: str
    metric: str
    mean: float
    low: float
    high: float
    files: int

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Failure:
    """A file that could not be judged; `system` None where it could not be read."""

    file: str
    system: str | None
    error: str


@dataclass(frozen=True)
class Evaluation:
    """Rows `{"file", "system", metric: value, …}` (numbers, or words such as "not installed") and their sums.

    `settings` says how it was run; JSON types only.
    """

    suite: str
    rows: tuple[Row, ...]
    summary: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    failed: tuple[Failure, ...]
    settings: Mapping[str, Any]

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems with a row, in their order."""
        return tuple(dict.fromkeys(row["system"] for row in self.rows))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of any row, in their order."""
        return tuple(dict.fromkeys(key for row in self.rows for key in row if key not in _WORDS))

    def find(self, system: str, metric: str) -> Summary | None:
        """The summary of one system and metric, None if there is none."""
        matches = (entry for entry in self.summary if (entry.system, entry.metric) == (system, metric))
        return next(matches, None)

    def to_json(self) -> dict[str, Any]:
        """`suite`, `rows`, `summary`, `regressions`; then `differences`, `failed`, `settings`. NaN: None."""
        record = {
            "suite": self.suite,
            "rows": [dict(row) for row in self.rows],
            "summary": [asdict(entry) for entry in self.summary],
            "regressions": [],
            "differences": [asdict(entry) for entry in self.differences],
            "failed": [asdict(entry) for entry in self.failed],
            "settings": dict(self.settings),
        }
        plain: dict[str, Any] = _without_nan(record)
        return plain


_WORDS = ("file", "system", "tier")


def summarize(rows: Sequence[Row], *, seed: int) -> tuple[Summary, ...]:
    """One summary for each system and metric that has numbers."""
    result = []
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        for metric in dict.fromkeys(key for row in own for key in row):
            if metric in _NOT_AVERAGED or metric in _WORDS:
                continue
            found = mean_interval([_number(row.get(metric)) for row in own], seed=seed)
            word = tier(found.mean) if metric == TIER_METRIC and found.count else None
            result.append(Summary(system, metric, found.mean, found.low, found.high, word))
    return tuple(result)


def differences(rows: Sequence[Row], *, seed: int) -> tuple[Difference, ...]:
    """Systems (no controls) against the projection, metric by metric, over the files that both have."""
    by_system: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_system.setdefault(row["system"], {})[row["file"]] = row
    base = by_system.get(BASELINE, {})
    result = []
    for system, own in by_system.items():
        common = [file for file in own if file in base]
        if system == BASELINE or system in CONTROLS or not common:
            continue
        for metric in dict.fromkeys(key for file in common for key in own[file] if key in base[file]):
            if metric in _NOT_AVERAGED or metric in _WORDS:
                continue
            pair = [[_number(side[file].get(metric)) for file in common] for side in (own, base)]
            found: Interval = paired_difference(pair[0], pair[1], seed=seed)
            if found.count:
                entry = Difference(system, BASELINE, metric, found.mean, found.low, found.high, found.count)
                result.append(entry)
    return tuple(result)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
