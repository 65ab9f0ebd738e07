from __future__ import annotations

import math

import numpy as np
import pytest

from heartopt.evaluation.statistics import effect_size, mean_interval, paired_difference, signed_rank_p


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


def test_effect_is_the_mean_over_the_spread() -> None:
    assert effect_size([1.0, 2.0, 3.0, math.nan]) == pytest.approx(2.0)
    assert effect_size([-1.0, -2.0, -3.0]) == pytest.approx(-2.0)
    assert effect_size([0.0, 0.0]) == 0.0
    assert effect_size([0.5, 0.5]) == math.inf and effect_size([-0.5, -0.5]) == -math.inf
    assert math.isnan(effect_size([1.0])) and math.isnan(effect_size([]))


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_p_of_differences_of_one_sign_is_the_smallest_there_is(count: int) -> None:
    values = [1.0 + index for index in range(count)]
    assert signed_rank_p(values) == pytest.approx(2 / 2**count)
    assert signed_rank_p([-value for value in values]) == pytest.approx(2 / 2**count)


def test_p_of_nothing_to_tell() -> None:
    assert signed_rank_p([0.0, 0.0, 0.0]) == 1.0
    assert signed_rank_p([1.0, -1.0]) == 1.0
    assert math.isnan(signed_rank_p([1.0])) and math.isnan(signed_rank_p([math.nan]))
    assert 0 < signed_rank_p([0.0, 1.0, 1.0, 2.0]) <= 1  # ties and zeros


def test_p_of_noise_is_spread_and_of_a_shift_is_small() -> None:
    random = np.random.default_rng(1)
    found = [signed_rank_p(random.normal(size=20).tolist()) for _ in range(200)]
    assert 0.01 < np.mean(np.asarray(found) < 0.05) < 0.1
    assert signed_rank_p(random.normal(2.0, size=60).tolist()) < 1e-6
