"""The tiers of the `stft` metric: the training report's words for its borders."""

from __future__ import annotations

import math
from dataclasses import dataclass

TIER_METRIC = "stft"


@dataclass(frozen=True)
class Tier:
    """One tier: its word and its borders in words. The borders' rule itself is `tier`."""

    name: str
    borders: str


TIERS = (
    Tier("Excellent", "below 1"),
    Tier("Good", "from 1 to below 2"),
    Tier("Fair", "from 2 to 3"),
    Tier("Poor", "above 3"),
)
UNKNOWN = "unknown"


def tier(value: float) -> str:
    """The tier of an `stft` value: Excellent < 1, Good [1, 2), Fair [2, 3], Poor > 3; NaN is "unknown"."""
    if math.isnan(value):
        return UNKNOWN
    index = 0 if value < 1 else 1 if value < 2 else 2 if value <= 3 else 3
    return TIERS[index].name
