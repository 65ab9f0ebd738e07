from __future__ import annotations

import math

import numpy as np
import pytest

from heartopt.evaluation.statistics import mean_interval, paired_difference


def test_interval_covers_what_theory_says() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400).tolist()
    found = mean_interval(values)
    half = 1.96 * np.std(values) / math.sqrt(len(values))
    assert found.mean == pytest.approx(np.mean(values)) and found.count == 400
    assert found.low == pytest.approx(found.mean - half, abs=0.03)
    assert found.high == pytest.approx(found.mean + half, abs=0.03)


def test_degenerate_samples() -> None:
    same = mean_interval([3.0] * 5)
    assert (same.mean, same.low, same.high) == (3.0, 3.0, 3.0)
    one = mean_interval([2.0, math.nan])
    assert (one.mean, one.count) == (2.0, 1) and math.isnan(one.low) and math.isnan(one.high)
    none = mean_interval([math.nan])
    assert none.count == 0 and math.isnan(none.mean)


def test_seed_decides() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_pairing_removes_the_spread_between_files() -> None:
    files = np.linspace(0.0, 100.0, 12)
    better = paired_difference((files - 1).tolist(), files.tolist())
    assert (better.mean, better.low, better.high) == pytest.approx((-1.0, -1.0, -1.0))
    assert paired_difference([1.0, math.nan], [0.0, 0.0]).count == 1


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired_difference([1.0], [1.0, 2.0])
