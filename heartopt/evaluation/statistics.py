"""Means with bootstrap intervals over files, and paired differences between systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

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
    known = _finite(values)
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


def effect_size(differences: Sequence[float]) -> float:
    """d_z of paired differences: their mean over their standard deviation (n - 1), from -inf to inf, no unit.

    0 where there is no difference at all, ±inf where every pair differs by the same; NaN for fewer than two finite
    numbers. Source: Cohen (1988), *Statistical Power Analysis for the Behavioral Sciences*. Blind to how much a
    difference matters: a tiny one that is the same on every file has a large effect.
    """
    known = _finite(differences)
    if known.size < 2:
        return math.nan
    if np.ptp(known) == 0:
        return math.copysign(math.inf, known[0]) if known[0] else 0.0
    return float(known.mean() / known.std(ddof=1))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test that paired differences lie symmetrically around 0.

    1 where all are 0, NaN for fewer than two finite numbers. With n pairs it cannot be below 2 / 2^n: five files
    never reach 0.05. Many metrics and systems are tested side by side, and nothing is corrected for that.
    """
    known = _finite(differences)
    if known.size < 2:
        return math.nan
    if not known.any():
        return 1.0
    return float(stats.wilcoxon(known).pvalue)


def _finite(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
