import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartopt.errors import ConfigError, HeartoptError
from heartopt.training.lr_finder import DIVERGED, find_learning_rate, smooth


class Descent:
    """Gradient descent on `curvature · x² / 2`: a step at rate r multiplies x by 1 − r · curvature.

    So the loss falls at every rate below 2 / curvature, and rises at every rate above it.
    """

    def __init__(self, curvature, floor=0.0):
        self.curvature, self.floor, self.x, self.calls = curvature, floor, 1.0, 0

    def __call__(self, rate):
        loss = self.floor + self.curvature * self.x**2 / 2
        self.x *= 1 - rate * self.curvature
        self.calls += 1
        return loss


@settings(max_examples=30, deadline=None)
@given(st.floats(1e2, 1e4))
def test_a_quadratics_rate_is_a_tenth_of_where_descent_breaks(curvature):
    found = find_learning_rate(Descent(curvature))
    # The rates are a factor 1.22 apart, and the median may move the minimum by three of them.
    assert 0.1 * 2 / curvature / 2 < found.suggestion < 0.1 * 2 / curvature * 2


def test_rates_rise_by_equal_factors_and_losses_are_those_of_the_steps():
    found = find_learning_rate(Descent(100.0), low=1e-5, high=1e-2, steps=31)
    assert found.rates[0] == 1e-5
    assert found.rates[-1] == pytest.approx(1e-2)
    assert [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)] == pytest.approx([10**0.1] * 30)
    x, expected = 1.0, []
    for rate in found.rates:
        expected.append(50 * x**2)
        x *= 1 - 100 * rate
    assert found.losses == pytest.approx(expected)
    # Still falling at the end: a tenth of the highest rates.
    assert found.suggestion == pytest.approx(1e-3, rel=0.01)


def test_it_stops_where_the_loss_diverges():
    descent = Descent(1000.0, floor=1.0)
    found = find_learning_rate(descent)
    assert descent.calls == len(found.rates) == len(found.losses) < 60
    assert found.losses[-1] > DIVERGED
    assert found.rates[-1] > 2 / 1000.0


def test_weights_that_became_nan_end_it_after_three_steps():
    calls = []

    def step(rate):
        calls.append(rate)
        return math.nan if rate > 1e-2 else 1 / (1 + 1e3 * rate)

    found = find_learning_rate(step)
    assert [math.isnan(loss) for loss in found.losses[-4:]] == [False, True, True, True]
    assert len(calls) == len(found.losses)
    assert 2e-4 < found.suggestion <= 1e-3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_single_bad_losses_change_next_to_nothing(bad):
    clean = find_learning_rate(Descent(1000.0, floor=1.0))
    descent = Descent(1000.0, floor=1.0)

    def step(rate):
        loss = descent(rate)
        return bad if descent.calls in (1, 9, 20, 21, 33) else loss

    found = find_learning_rate(step)
    assert clean.suggestion / 2 < found.suggestion < clean.suggestion * 2
    assert not any(math.isnan(loss) for loss in found.smoothed)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_a_tenth_moves_it_little(seed):
    source, descent = random.Random(seed), Descent(1000.0, floor=0.1)
    found = find_learning_rate(lambda rate: descent(rate) * (1 + source.gauss(0, 0.1)))
    # The loss is at its floor, within the noise, from about a fifth of the breaking rate on.
    assert 0.1 * 2 / 1000.0 / 8 < found.suggestion < 0.1 * 2 / 1000.0 * 2


@pytest.mark.parametrize("step", [lambda rate: 1.0, lambda rate: 1 + rate, lambda rate: math.nan, lambda rate: 0.0])
def test_a_loss_that_never_falls_suggests_nothing(step):
    with pytest.raises(HeartoptError, match="fell at no rate") as caught:
        find_learning_rate(step)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [{"low": 0.0}, {"low": 1.0}, {"high": math.inf}, {"low": math.nan}, {"steps": 6}],
)
def test_ranges_that_are_none_are_refused(arguments):
    with pytest.raises(ConfigError, match="give"):
        find_learning_rate(lambda rate: rate, **arguments)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=True), max_size=30))
def test_smoothed_losses_stay_within_their_neighbours(losses):
    smoothed = smooth(losses)
    assert len(smoothed) == len(losses)
    for k, value in enumerate(smoothed):
        near = [loss for loss in losses[max(0, k - 3) : k + 4] if math.isfinite(loss)]
        assert math.isnan(value) if not near else min(near) <= value <= max(near) or math.isinf(value)


def test_the_median_keeps_a_monotone_curve_as_it_is():
    losses = [float(100 - k * k) for k in range(10)]
    assert smooth(losses)[3:-3] == tuple(losses[3:-3])
