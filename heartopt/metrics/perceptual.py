"""Perceptual metrics that come with the extra `metrics`."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from torch import Tensor

from heartopt.audio import SAMPLE_RATE, resample

NOT_INSTALLED = "not installed"
PESQ_RATE = 16_000


def pesq_wb(estimate: Tensor, target: Tensor) -> float | str:
    """Wide-band PESQ (ITU-T P.862.2, MOS-LQO 1.04 to 4.64), higher is better. See `_pesq`."""
    return _pesq(estimate, target, "wb")


def pesq_nb(estimate: Tensor, target: Tensor) -> float | str:
    """Narrow-band PESQ (P.862.1 mapping, MOS-LQO 1.02 to 4.55), higher is better. See `_pesq`."""
    return _pesq(estimate, target, "nb")


def _pesq(estimate: Tensor, target: Tensor, mode: Literal["wb", "nb"]) -> float | str:
    """PESQ of the channels' means at 16 kHz, `[C, N]` at 48 kHz twice.

    Made for speech up to 8 kHz: blind to stereo and to all above, and HeartCodec itself scores near 1.5
    (wide band) and 2.1 (narrow band). "not installed" without the package `pesq`; NaN where PESQ finds
    nothing to compare (silence on either side) or has too little (under a quarter of a second).
    """
    try:
        import pesq
    except ImportError:
        return NOT_INSTALLED
    reference, degraded = (_mono_16k(x) for x in (target, estimate))
    if not reference.any() or not degraded.any():
        return math.nan  # PESQ scales by its own peaks and would divide by zero
    try:
        score = float(pesq.pesq(PESQ_RATE, reference, degraded, mode))
    except pesq.PesqError:  # no utterance found, or a buffer shorter than PESQ needs
        return math.nan
    return score if score > 0 else math.nan


def _mono_16k(audio: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    mono = resample(audio.detach().float().cpu().mean(dim=0), SAMPLE_RATE, PESQ_RATE)
    samples: np.ndarray[tuple[int], np.dtype[np.float32]] = mono.numpy().astype(np.float32)
    return samples
