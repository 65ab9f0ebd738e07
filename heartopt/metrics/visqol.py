"""ViSQOL in audio mode, which comes with the extra `metrics`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.losses import is_silent
from heartopt.metrics.metric import Metric
from heartopt.metrics.perceptual import NOT_INSTALLED


def visqol(estimate: Tensor, target: Tensor) -> float | str:
    """ViSQOL v3 in audio mode of the channels' means, `[C, N]` at 48 kHz twice: MOS-LQO, higher is better.

    Predicted listeners' opinion from 1 to 5; a perfect copy gets 4.73. Patches of gammatone spectrograms (32 bands,
    50 Hz to 15 kHz) are compared by structural similarity, and a support vector machine that was trained on
    listening tests of codecs maps them to an opinion. Source: Chinen et al., QoMEX 2020 (arXiv 2004.09584);
    Google's implementation, ported by `visqol-python` (Apache-2.0), which brings the trained model with it.

    It sets the estimate to the target's level and aligns it first: blind to gain and to delays, and to stereo. Noise
    in silent passages weighs much, and it saturates at either end. Slow: about twice the audio's length on one
    core. "not installed" without the package; NaN where it has nothing to compare (a silent side, peak below
    -80 dB) or too little (about one second).
    """
    model = _model()
    if model is None:
        return NOT_INSTALLED
    reference, degraded = (x.detach().double().cpu().mean(dim=0).numpy() for x in (target, estimate))
    if is_silent(target) or is_silent(estimate) or not reference.any() or not degraded.any():
        return math.nan  # it scales one side to the other's level, and finds silence like everything
    try:
        with np.errstate(all="ignore"):
            return float(model.measure_from_arrays(reference, degraded, SAMPLE_RATE).moslqo)
    except ValueError:  # shorter than one patch
        return math.nan


@lru_cache(maxsize=1)
def _model() -> Any:
    """The model, loaded once; None without the package."""
    try:
        from visqol import VisqolApi
    except ImportError:
        return None
    api = VisqolApi()
    api.create(mode="audio")
    return api


VISQOL = Metric(
    name="visqol",
    about="ViSQOL v3 in audio mode: predicted opinion of music through a codec",
    unit="MOS",
    better="higher",
    tolerance=0.1,
    compute=lambda pair: visqol(pair.estimate.audio, pair.target.audio),
    range="1 to 4.73 (a perfect copy)",
    source="Chinen et al., arXiv 2004.09584, by visqol-python",
    sees=("noise", "mp3", "quantization", "clipping", "shimmer", "other_song"),
    blind="gain, delays, stereo, and all above 15 kHz; low-passes from 4 kHz down score alike, and Opus at 16 kbit/s, "
    "which drops the stereo, scores above 24",
    default=False,
)
