"""`metrics.jsonl` as curves over epochs, thinned while it is read: a run of any length takes the same memory."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heartopt.errors import HeartoptError
from heartopt.training.records import mean, number, numbers

#: Points of a curve, at most: more than a picture has columns.
MOST_POINTS = 2000
#: Curves that are told apart by name, at most: no damaged file makes thousands.
MOST_TERMS = 24


class Series:
    """One curve. Points are averaged in pairs whenever there would be more than `MOST_POINTS`; NaN leaves a gap only
    where there is nothing but NaN.
    """

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []
        self._stride = 1
        self._waiting: list[tuple[float, float]] = []
        #: Where the lowest value is, and that value, before any averaging.
        self.lowest = (math.nan, math.inf)

    def add(self, epoch: float, value: float) -> None:
        """Append a point; without a finite epoch it has no place and is passed over."""
        if math.isnan(epoch):
            return
        if value < self.lowest[1]:
            self.lowest = (epoch, value)
        self._waiting.append((epoch, value))
        if len(self._waiting) < self._stride:
            return
        self._points.append(_average(self._waiting))
        self._waiting.clear()
        if len(self._points) >= MOST_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [_average(list(pair)) for pair in pairs]
            self._stride *= 2

    def points(self) -> tuple[list[float], list[float]]:
        """Epochs and values, the last ones included."""
        points = [*self._points, _average(self._waiting)] if self._waiting else self._points
        return [epoch for epoch, _ in points], [value for _, value in points]

    def __bool__(self) -> bool:
        return math.isfinite(self.lowest[1])


def _average(points: list[tuple[float, float]]) -> tuple[float, float]:
    values = [value for _, value in points if not math.isnan(value)]
    epoch = sum(epoch for epoch, _ in points) / len(points)
    return epoch, sum(values) / len(values) if values else math.nan


def _named() -> defaultdict[str, Series]:
    return defaultdict(Series)


@dataclass
class History:
    """A run's curves by name: of its steps (`loss`, `usage`, `learning_rate`, `gradient_norm`), of the loss' terms, of
    the held-out figures (`flow`, `commitment`) and of the decoded clips' metrics. `skips`: where steps were skipped.
    """

    steps: defaultdict[str, Series] = field(default_factory=_named)
    terms: defaultdict[str, Series] = field(default_factory=_named)
    held_out: defaultdict[str, Series] = field(default_factory=_named)
    clips: defaultdict[str, Series] = field(default_factory=_named)
    skips: Series = field(default_factory=Series)
    skipped: int = 0
    step: int = 0
    epoch: float = 0.0

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one line's record; what is no record of a run is passed over."""
        epoch, step = number(record.get("epoch")), record.get("step")
        if math.isnan(epoch) or not isinstance(step, int):
            return
        match record.get("kind"):
            case "step":
                self._add_step(epoch, record)
            case "validation":
                for name in ("flow", "commitment"):
                    self.held_out[name].add(epoch, number(record.get(name)))
            case "clips":
                _add_all(self.clips, epoch, record.get("metrics"))
            case _:
                return
        self.step, self.epoch = step, max(self.epoch, epoch)

    def _add_step(self, epoch: float, record: Mapping[str, Any]) -> None:
        for name in ("loss", "learning_rate", "gradient_norm"):
            self.steps[name].add(epoch, number(record.get(name)))
        self.steps["usage"].add(epoch, mean(record.get("usage")))
        _add_all(self.terms, epoch, record.get("terms"))
        if record.get("skipped"):
            self.skipped += 1
            self.skips.add(epoch, 0.0)


def _add_all(curves: defaultdict[str, Series], epoch: float, values: object) -> None:
    for name, value in numbers(values).items():
        if name in curves or len(curves) < MOST_TERMS:
            curves[name].add(epoch, value)


def read_history(metrics: Path) -> History:
    """Read `metrics.jsonl`, line by line. Raises HeartoptError where there is no such file."""
    history = History()
    for record in _records(metrics):
        history.add(record)
    return history


def _records(metrics: Path) -> Iterator[Mapping[str, Any]]:
    """The lines that are JSON objects; empty and damaged ones are passed over."""
    try:
        with metrics.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict):
                    yield record
    except OSError as error:
        raise HeartoptError(f"{metrics}: cannot be read ({error.strerror or error}); it comes of a training run") from (
            error
        )
