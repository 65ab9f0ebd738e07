"""Loudness, as broadcasters measure it."""

from __future__ import annotations

import math
import warnings

import pyloudnorm
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.metrics.metric import Metric
from heartopt.metrics.pair import Pair, Signal

_BLOCK_SECONDS = 0.4  # BS.1770's gating block: there is no loudness of less
_MOST_CHANNELS = 5  # that the standard has weights for


def loudness(signal: Signal) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); -inf below the gate of -70 LUFS.

    What is shorter than a gating block of 0.4 s is followed by silence up to one.
    """

    def make() -> float:
        audio = signal.audio[:_MOST_CHANNELS].double().cpu()
        short = max(0, math.ceil(_BLOCK_SECONDS * SAMPLE_RATE) - audio.shape[-1])
        samples = functional.pad(audio, (0, short)).T.contiguous().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the logarithm of nothing, where all is gated
            return float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples))

    return signal.once("loudness", make)


def _difference(pair: Pair) -> float:
    """NaN where either side is below the gate: no number of dB leads from silence to sound."""
    difference = loudness(pair.estimate) - loudness(pair.target)
    return difference if math.isfinite(difference) else math.nan


LOUDNESS = (
    Metric(
        name="loudness_db",
        about="Integrated loudness of the estimate less the target's",
        unit="LU",
        better="zero",
        tolerance=0.8,
        decimals=1,
        compute=_difference,
        range="0 is as loud; above it louder",
        source="ITU-R BS.1770-4, by pyloudnorm",
        sees=("gain",),
        blind="everything but level; not a number where either side is below -70 LUFS",
    ),
)
