"""Shimmer metrics."""

from __future__ import annotations

from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.deshimmer import find_shimmer


def shimmer_excess(estimate: Tensor, target: Tensor) -> float:
    """The share of time-frequency cells from 5.1 to 7.2 kHz that ring, over the target's: `[C, N]` twice, at 48 kHz.

    A cell rings where its level, the channels' mean, is more than 8 dB above the running median of its nine
    neighbours in frequency: what `heartopt.shimmer` finds, with the defaults. The difference of the two shares, from
    -1 to 1; 0 is as the target, above it the estimate rings more. It takes harmonics that stand out for ringing, in
    both alike, and is blind to the level of the band as a whole (`shimmer_db` hears that) and to phase.
    """
    return find_shimmer(estimate, SAMPLE_RATE).share - find_shimmer(target, SAMPLE_RATE).share
