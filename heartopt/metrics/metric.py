"""A metric of a pair of recordings: what it measures, how, and what it can and cannot hear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heartopt.metrics.pair import Pair
from heartopt.metrics.quantity import Quantity

#: A number, NaN where there is nothing to measure, or a word such as "not installed".
Value = float | str
#: The known distortions (`heartopt.evaluation.distortions`), for `Metric.sees`.
EVERY_DISTORTION = (
    "noise", "lowpass", "mp3", "opus", "quantization", "clipping", "shift", "gain", "narrowing", "shimmer",
    "other_song",
)  # fmt: skip


def all_but(*names: str) -> tuple[str, ...]:
    """Every known distortion but these."""
    return tuple(name for name in EVERY_DISTORTION if name not in names)


@dataclass(frozen=True, kw_only=True)
class Metric(Quantity):
    """A quantity of an estimate and its target.

    Attributes:
        compute: measures a `Pair`.
        range: from the perfect value to the worst, in words.
        source: paper, standard or library.
        sees: those of `EVERY_DISTORTION` that it is meant to follow: the stronger, the worse; held by a test.
        blind: what it does not hear, in words.
        default: whether it is measured where no metrics are named.
    """

    compute: Callable[[Pair], Value]
    range: str
    source: str
    sees: tuple[str, ...] = ()
    blind: str = ""
    default: bool = True
