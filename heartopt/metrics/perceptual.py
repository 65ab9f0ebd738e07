"""PESQ, a measure of speech, which comes with the extra `metrics`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from heartopt.metrics.metric import Metric, Value
from heartopt.metrics.pair import Pair

NOT_INSTALLED = "not installed"
PESQ_RATE = 16_000


def pesq(pair: Pair, mode: Literal["wb", "nb"]) -> Value:
    """PESQ of the channels' means at 16 kHz.

    Made for speech up to 8 kHz: blind to stereo and to all above, and HeartCodec itself scores near 1.5
    (wide band) and 2.1 (narrow band). "not installed" without the package `pesq`; NaN where PESQ finds
    nothing to compare (a silent side, peak below -80 dB) or has too little (under a quarter of a second).
    """
    try:
        import pesq as package
    except ImportError:
        return NOT_INSTALLED
    reference, degraded = pair.target.mono_16k, pair.estimate.mono_16k
    if pair.target.silent or pair.estimate.silent or not reference.any() or not degraded.any():
        return math.nan  # PESQ sets both to one level: it would judge the last bit, or divide by zero
    try:
        score = float(package.pesq(PESQ_RATE, reference, degraded, mode))
    except (package.PesqError, ValueError):  # no utterance, a buffer shorter than PESQ needs, or channels that cancel
        return math.nan
    return score if score > 0 else math.nan


def _pesq(mode: Literal["wb", "nb"]) -> Callable[[Pair], Value]:
    return lambda pair: pesq(pair, mode)


PERCEPTUAL = (
    Metric(
        name="pesq_wb",
        about="PESQ, wide band: predicted opinion of speech",
        unit="MOS",
        better="higher",
        tolerance=0.1,
        compute=_pesq("wb"),
        range="1.04 to 4.64 (a perfect copy)",
        source="ITU-T P.862.2, by the package `pesq`",
        sees=("noise", "mp3", "opus", "quantization", "clipping", "shimmer", "other_song"),
        blind="gain, stereo, and all above 8 kHz; made for speech: noise can beat a codec on music",
    ),
    Metric(
        name="pesq_nb",
        about="PESQ, narrow band: predicted opinion of speech on a telephone",
        unit="MOS",
        better="higher",
        tolerance=0.1,
        compute=_pesq("nb"),
        range="1.02 to 4.55 (a perfect copy)",
        source="ITU-T P.862.1, by the package `pesq`",
        sees=("noise", "mp3", "opus", "clipping", "other_song"),
        blind="gain, stereo, noise 30 dB below the song, and all above 3.4 kHz, so low-passes down to 4 kHz; made for "
        "speech",
    ),
)
