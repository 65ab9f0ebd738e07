"""What an evaluation found: rows per file and system, and what they amount to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from heartopt.errors import HeartoptError
from heartopt.evaluation.statistics import effect_size, mean_interval, paired_difference, signed_rank_p
from heartopt.evaluation.systems import BASELINE, CONTROLS
from heartopt.metrics import quantity
from heartopt.metrics.tiers import TIER_METRIC, tier

Row = Mapping[str, Any]

_NOT_AVERAGED = frozenset({"seconds", "wall_seconds"})
_WORDS = frozenset({"file", "system", "tier", "note"})


@dataclass(frozen=True)
class Summary:
    """One system's mean of one metric over files and its 95 % interval.

    Attributes:
        system, metric: whose and of what.
        mean, low, high: over the `count` files that have a number; NaN where there are none (bounds: fewer than two).
        tier: of the mean `stft`; None for other metrics.
        overlaps: for the tier metric of a system: the controls that it is not clearly better than, because their
            interval overlaps its own or is better. A system with one of these is not to be believed.
        worst: the file with the worst value; None where no direction is better, or there is no number.
        count: files with a number.
    """

    system: str
    metric: str
    mean: float
    low: float
    high: float
    tier: str | None
    overlaps: tuple[str, ...] = ()
    worst: str | None = None
    count: int = 0


@dataclass(frozen=True)
class Difference:
    """Mean over files of a system's metric minus the `baseline` system's on the same file, and its 95 % interval.

    `files`: how many both have numbers for; `effect`: d_z, see `effect_size`; `p`: see `signed_rank_p`.
    """

    system: str
    baseline: str
    metric: str
    mean: float
    low: float
    high: float
    files: int
    effect: float = math.nan
    p: float = math.nan

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

    Attributes:
        suite: its name.
        rows, summary, differences, failed: what was found. A row's `note` says what was done to make its audio fit.
        settings: how it was run; JSON types only.
        corpus: one `{"system", quantity: value, …}` a system: codes counted over all files together, and `fad`.
        songs: one `{"file", "seconds", "sha256", "start", "title", "licence"}` a song that could be read, as known.
        against: the system that differences are taken from.
        regressions: what the regression gate found, one record each.
    """

    suite: str
    rows: tuple[Row, ...]
    summary: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    failed: tuple[Failure, ...]
    settings: Mapping[str, Any]
    corpus: tuple[Mapping[str, Any], ...] = ()
    songs: tuple[Mapping[str, Any], ...] = ()
    against: str = BASELINE
    regressions: tuple[Mapping[str, Any], ...] = ()

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
        """Everything, JSON types only: rows first, then what follows from them. NaN: None."""
        record = {
            "suite": self.suite,
            "rows": [dict(row) for row in self.rows],
            "summary": [asdict(entry) for entry in self.summary],
            "regressions": [dict(entry) for entry in self.regressions],
            "differences": [asdict(entry) for entry in self.differences],
            "corpus": [dict(entry) for entry in self.corpus],
            "songs": [dict(entry) for entry in self.songs],
            "against": self.against,
            "failed": [asdict(entry) for entry in self.failed],
            "settings": dict(self.settings),
        }
        plain: dict[str, Any] = _without_nan(record)
        return plain

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_json` wrote: summary and differences are computed anew from the rows.

        Raises:
            HeartoptError: a record without an evaluation's rows.
        """
        try:
            rows = tuple(_row(row) for row in record["rows"])
            settings, against = dict(record["settings"]), str(record.get("against", BASELINE))
            seed = int(settings["seed"])
            return cls(
                suite=str(record["suite"]),
                rows=rows,
                summary=summarize(rows, seed=seed),
                differences=differences(rows, seed=seed, against=against),
                failed=tuple(Failure(**entry) for entry in record["failed"]),
                settings=settings,
                corpus=_records(record, "corpus", "system"),
                songs=_records(record, "songs", "file"),
                against=against,
                regressions=_records(record, "regressions", "system"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise HeartoptError(f"not an evaluation that heartopt wrote: {type(error).__name__}: {reason}") from error


def summarize(rows: Sequence[Row], *, seed: int) -> tuple[Summary, ...]:
    """One summary for each system and metric that has numbers."""
    result = []
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        for metric in dict.fromkeys(key for row in own for key in row):
            if metric in _NOT_AVERAGED or metric in _WORDS:
                continue
            values = [_number(row.get(metric)) for row in own]
            found = mean_interval(values, seed=seed)
            word = tier(found.mean) if metric == TIER_METRIC and found.count else None
            worst = _worst(metric, [str(row["file"]) for row in own], values)
            bounds = (found.mean, found.low, found.high)
            result.append(Summary(system, metric, *bounds, word, worst=worst, count=found.count))
    return tuple(_with_overlaps(result))


def differences(rows: Sequence[Row], *, seed: int, against: str = BASELINE) -> tuple[Difference, ...]:
    """Systems (no controls) against one of them, metric by metric, over the files that both have."""
    by_system: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_system.setdefault(row["system"], {})[row["file"]] = row
    base = by_system.get(against, {})
    result = []
    for system, own in by_system.items():
        common = [file for file in own if file in base]
        if system == against or system in CONTROLS or not common:
            continue
        for metric in dict.fromkeys(key for file in common for key in own[file] if key in base[file]):
            if metric in _NOT_AVERAGED or metric in _WORDS:
                continue
            pair = [[_number(side[file].get(metric)) for file in common] for side in (own, base)]
            found = paired_difference(pair[0], pair[1], seed=seed)
            if found.count:
                bounds = (found.mean, found.low, found.high)
                apart = [value - other for value, other in zip(*pair, strict=True)]
                tests = (effect_size(apart), signed_rank_p(apart))
                result.append(Difference(system, against, metric, *bounds, found.count, *tests))
    return tuple(result)


def _worst(metric: str, files: Sequence[str], values: Sequence[float]) -> str | None:
    """The file with the worst value; the first of equal ones."""
    known = [(file, value) for file, value in zip(files, values, strict=True) if math.isfinite(value)]
    measured = quantity(metric)
    if measured.better is None or not known:
        return None
    worst = known[0]
    for pair in known[1:]:
        if measured.worsening(pair[1], worst[1]) > 0:
            worst = pair
    return worst[0]


def _with_overlaps(summary: Sequence[Summary]) -> Iterator[Summary]:
    controls = [entry for entry in summary if entry.metric == TIER_METRIC and entry.system in CONTROLS]
    for entry in summary:
        if entry.metric == TIER_METRIC and entry.system not in CONTROLS:
            found = tuple(control.system for control in controls if _high(entry) >= _low(control))
            entry = replace(entry, overlaps=found)
        yield entry


# Lower is better: clearly better is wholly below. Of one file there is no interval, and its value has to do.
def _low(entry: Summary) -> float:
    return entry.low if math.isfinite(entry.low) else entry.mean


def _high(entry: Summary) -> float:
    return entry.high if math.isfinite(entry.high) else entry.mean


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it was before `to_json`. Raises KeyError without its names, TypeError for one that is no text."""
    for name in ("file", "system"):
        if not isinstance(entry[name], str):
            raise TypeError(f"{name} is {entry[name]!r}, no text")
    return {key: _with_nan(value) for key, value in entry.items()}


def _records(record: Mapping[str, Any], key: str, name: str) -> tuple[Mapping[str, Any], ...]:
    """The records under `key`, each with a text under `name`. Raises as `_row`."""
    found = tuple({field: _with_nan(value) for field, value in entry.items()} for entry in record.get(key, ()))
    if any(not isinstance(entry[name], str) for entry in found):
        raise TypeError(f"{key}: a {name} is no text")
    return found


def _with_nan(value: Any) -> Any:
    return math.nan if value is None else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
