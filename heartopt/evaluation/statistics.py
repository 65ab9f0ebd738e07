"""Means with bootstrap intervals over files, and paired differences between systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `count` files and its 95 % percentile-bootstrap interval; NaN bounds for fewer than two."""

    mean: float
    low: float
    high: float
    count: int


def mean_interval(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean of the values that are finite and its 95 % bootstrap interval, files drawn with replacement.

    The same seed draws the same files, whatever the values: intervals of different systems are comparable.
    With few files (under ten or so) a percentile interval is too narrow; with one there is none.
    """
    known = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    if known.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    if known.size == 1:
        return Interval(mean, math.nan, math.nan, 1)
    draws = np.random.default_rng(seed).integers(0, known.size, size=(resamples, known.size))
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(known[draws].mean(axis=1), [tail, 1 - tail])
    return Interval(mean, float(low), float(high), int(known.size))


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Mean of `values - baseline`, one pair a file, with its interval; pairs with NaN do not count."""
    pairs = zip(values, baseline, strict=True)
    return mean_interval([value - base for value, base in pairs], seed=seed, resamples=resamples)
