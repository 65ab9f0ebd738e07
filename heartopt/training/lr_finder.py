"""The learning rate range test (Smith, arXiv 1506.01186): train at ever higher rates, and see where it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from heartopt.errors import ConfigError, HeartoptError

#: Losses that are smoothed into one: the median of this many neighbours. It follows a curve without delay, and one
#: wild batch does not move it.
WINDOW = 7
#: The loss has diverged where the median of the last `WINDOW` is this many times the lowest such median (as fastai).
DIVERGED = 4.0
#: So many losses in a row that are not finite are divergence too; single ones are left out.
MAX_NOT_FINITE = 3
#: The suggestion, as a share of the rate at the lowest smoothed loss, which is where learning is about to break.
SAFETY = 0.1
#: The smoothed loss must fall by at least this share of its start, else there is nothing to suggest a rate from.
LEAST_FALL = 0.01


@dataclass(frozen=True)
class Range:
    """What a range test saw: `rates` and the `losses` found at them, in order, and the `suggestion`."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    @property
    def smoothed(self) -> tuple[float, ...]:
        """`losses`, each the median of its finite neighbours; NaN where there is none."""
        return smooth(self.losses)


def find_learning_rate(
    step: Callable[[float], float], *, low: float = 1e-6, high: float = 1e-1, steps: int = 60
) -> Range:
    """Run a learning rate range test from `low` to `high` by equal factors, and suggest the peak of a schedule.

    The suggestion is a tenth of the rate at the lowest smoothed loss (`SAFETY`). The place of a minimum is steadier
    under noise than that of the steepest descent, the other usual choice.

    Args:
        step: does one training step at the given rate and returns its loss, taken before the update. It changes the
            weights, and in the end spoils them: give it a copy.
        steps: the most steps; it stops earlier where the loss diverges.

    Raises:
        ConfigError: no range, or fewer than `WINDOW` steps.
        HeartoptError: the loss fell at no rate.
    """
    if not 0 < low < high < math.inf:
        raise ConfigError(f"learning rates from {low:g} to {high:g}: give two numbers above 0, the lower one first")
    if steps < WINDOW:
        raise ConfigError(f"a range test of {steps} steps: give at least {WINDOW}")
    rates: list[float] = []
    losses: list[float] = []
    for k in range(steps):
        rates.append(low * (high / low) ** (k / (steps - 1)))
        losses.append(float(step(rates[-1])))
        if _diverged(losses):
            break
    smoothed = smooth(losses)
    # A rate at which the loss was not finite is never the best, whatever its neighbours say.
    best = min(range(len(rates)), key=lambda k: smoothed[k] if math.isfinite(losses[k]) else math.inf)
    start = next((loss for loss in smoothed if not math.isnan(loss)), math.nan)
    if not smoothed[best] < start - LEAST_FALL * abs(start):
        raise HeartoptError(
            f"learning rate range test: the loss fell at no rate from {low:g} to {rates[-1]:g}; give one with --lr"
        )
    return Range(tuple(rates), tuple(losses), max(low, SAFETY * rates[best]))


def smooth(losses: Sequence[float]) -> tuple[float, ...]:
    """Running median over `WINDOW` neighbours, fewer at the ends; losses that are not finite do not count."""
    half = WINDOW // 2
    windows = (
        [loss for loss in losses[max(0, k - half) : k + half + 1] if math.isfinite(loss)] for k in range(len(losses))
    )
    return tuple(median(window) if window else math.nan for window in windows)


def _diverged(losses: Sequence[float]) -> bool:
    last = losses[-MAX_NOT_FINITE:]
    if len(last) == MAX_NOT_FINITE and not any(math.isfinite(loss) for loss in last):
        return True
    finite = [loss for loss in losses if math.isfinite(loss)]
    medians = [median(finite[k : k + WINDOW]) for k in range(len(finite) - WINDOW + 1)]
    return bool(medians) and medians[-1] > DIVERGED * min(medians)
