"""What a column of a report means: its unit, which way is better, how many decimals it deserves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

#: Which way is better: lower, higher, nearer to zero; None for what only describes.
Better = Literal["lower", "higher", "zero"] | None


@dataclass(frozen=True)
class Quantity:
    """A measured quantity.

    Attributes:
        name: what rows call it.
        about: what it measures, in one sentence.
        unit: "" for none.
        better: which way is better.
        decimals: that are worth showing.
        tolerance: a difference so small that nobody need care, in the quantity's unit; the regression gate's. Above
            what another decoder noise does to means over six excerpts of 4 s, see `reports/gate_noise.md`.
        floor: the regression gate takes lower values for this one: they say no more than that nothing is left of the
            target, and by how much is chance.
    """

    name: str
    about: str
    unit: str = ""
    better: Better = None
    decimals: int = 2
    tolerance: float = 0.0
    floor: float = -math.inf

    @property
    def heading(self) -> str:
        """The name with its unit and the sign of its better direction, such as `si_sdr (dB ↑)`."""
        sign = {"lower": "↓", "higher": "↑", "zero": "→ 0", None: ""}[self.better]
        note = " ".join(part for part in (self.unit, sign) if part)
        return f"{self.name} ({note})" if note else self.name

    def worsening(self, value: float, reference: float) -> float:
        """By how much `value` is worse than `reference`, negative where it is better; 0 for what only describes."""
        if self.better == "lower":
            return value - reference
        if self.better == "higher":
            return reference - value
        return abs(value) - abs(reference) if self.better == "zero" else 0.0
