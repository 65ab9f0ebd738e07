"""Short-time objective intelligibility, which comes with the extra `metrics`."""

from __future__ import annotations

import math
import warnings

import numpy as np
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.losses import is_silent
from heartopt.metrics.metric import Metric
from heartopt.metrics.perceptual import NOT_INSTALLED

_TOO_SHORT = 1e-5  # what pystoi gives where fewer than 30 of its frames are not silent


def stoi(estimate: Tensor, target: Tensor) -> float | str:
    """STOI of the channels' means, `[C, N]` at 48 kHz twice: -1 to 1, 1 is perfect, higher is better, no unit.

    The mean correlation of short-time envelopes (384 ms, 15 third-octave bands from 150 Hz to 4.3 kHz, at 10 kHz)
    over frames that are not 40 dB below the loudest. Source: Taal et al., IEEE TASLP 19(7), 2011; pystoi.

    Made for speech: blind to what lies above 4.3 kHz, to stereo, to gain and, on music, to a good deal else; the
    HeartCodec paper reports it, at 0.66. A delay of a few hundredths of a second ruins it. "not installed" without
    the package `pystoi`; NaN for a silent target (peak below -80 dB) and for less than 0.4 s of sound.
    """
    try:
        import pystoi
    except ImportError:
        return NOT_INSTALLED
    reference, degraded = (x.detach().double().cpu().mean(dim=0).numpy() for x in (target, estimate))
    if is_silent(target) or not reference.any():
        return math.nan
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it warns of too few frames; NaN says the same
            score = float(pystoi.stoi(reference, degraded, SAMPLE_RATE))
    except (np.exceptions.AxisError, IndexError, ValueError):  # not even one frame
        return math.nan
    return math.nan if score == _TOO_SHORT else score


STOI = Metric(
    name="stoi",
    about="Short-time objective intelligibility: correlation of envelopes in 15 bands up to 4.3 kHz",
    better="higher",
    tolerance=0.02,
    compute=lambda pair: stoi(pair.estimate.audio, pair.target.audio),
    range="-1 to 1 (a perfect copy)",
    source="Taal et al., IEEE TASLP 19(7), 2011, by pystoi",
    sees=("noise", "mp3", "quantization", "clipping", "shift", "other_song"),
    blind="gain, stereo, all above 4.3 kHz, so low-passes down to 4 kHz, and Opus from 32 kbit/s up; a delay of a few "
    "hundredths of a second ruins it; made for speech",
    default=False,
)
