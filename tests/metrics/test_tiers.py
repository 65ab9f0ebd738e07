from __future__ import annotations

import math

import pytest

from heartopt.metrics.tiers import TIERS, tier


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.0, "Excellent"),
        (0.999, "Excellent"),
        (1.0, "Good"),
        (1.999, "Good"),
        (2.0, "Fair"),
        (3.0, "Fair"),
        (3.001, "Poor"),
        (math.inf, "Poor"),
        (math.nan, "unknown"),
    ],
)
def test_borders(value: float, name: str) -> None:
    assert tier(value) == name


def test_every_tier_can_be_reached() -> None:
    assert {tier(value) for value in (0.5, 1.5, 2.5, 3.5)} == {entry.name for entry in TIERS}
