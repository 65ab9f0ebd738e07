"""Sound for the page: FLAC in memory, and the gains that make all takes of an excerpt equally loud."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
import pyloudnorm
import soundfile
import torch
from scipy import signal
from torch import Tensor

from heartopt.audio import SAMPLE_RATE

#: The shortest sound whose loudness BS.1770 defines: one block, in seconds.
LOUDNESS_SECONDS = 0.4
#: No take is turned up or down by more than so many dB: far more would only show its rounding noise.
MOST_GAIN_DB = 20.0
#: The low anchor of ITU-R BS.1534: a low-pass at 3.5 kHz, down by 25 dB at 4 kHz and by 50 dB at 4.5 kHz.
ANCHOR_PASS_HZ, ANCHOR_STOP_HZ, ANCHOR_STOP_DB = 3_500.0, 4_000.0, 60.0


@dataclass(frozen=True)
class Flac:
    """A sound as the page holds it.

    Attributes:
        data: FLAC of 16 bits at 48 kHz, one or two channels.
        scale: what the samples were divided by so that none is beyond full scale; 1 where none was.
    """

    data: bytes
    scale: float


def to_flac(audio: Tensor) -> Flac:
    """Store `audio [C, N]`, rounded to 16 bits. Samples that came from 16 bits stay as they are."""
    scale = max(1.0, peak(audio) * 32768 / 32767)
    samples = (audio.double() / scale * 32768).round().clamp(-32768, 32767).to(torch.int16)
    file = io.BytesIO()
    soundfile.write(file, samples.T.numpy(), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Flac(file.getvalue(), scale)


def peak(audio: Tensor) -> float:
    """The largest absolute sample."""
    return float(audio.abs().max())


def loudness(audio: Tensor) -> float:
    """Integrated loudness of `[C, N]` in LUFS by ITU-R BS.1770 (pyloudnorm); for under 0.4 s its RMS in dB.

    Minus infinity for silence and for what stays below BS.1770's gate at -70 LUFS.
    """
    if audio.shape[-1] < LOUDNESS_SECONDS * SAMPLE_RATE:
        power = float(audio.double().square().mean())
        return 10 * math.log10(power) if power > 0 else -math.inf
    # Mono is played by both speakers, so it counts twice, as two equal channels do.
    samples = audio.expand(2, -1).T.double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the logarithm of silence
        return float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples))


def matching_gain(audio: Tensor, original: Tensor) -> tuple[float, float | None]:
    """The gain in dB that makes `audio` as loud as `original`, within 20 dB, and by how many dB it is louder even then.

    Where either has no loudness, 0 and None.
    """
    wanted = loudness(original) - loudness(audio)
    if not math.isfinite(wanted):
        return 0.0, None
    gain = min(max(wanted, -MOST_GAIN_DB), MOST_GAIN_DB)
    return gain, gain - wanted


def low_anchor(original: Tensor) -> Tensor:
    """The low anchor `[C, N]`: the original without anything above 3.5 kHz (linear phase, in time)."""
    width = (ANCHOR_STOP_HZ - ANCHOR_PASS_HZ) / (SAMPLE_RATE / 2)
    taps, beta = signal.kaiserord(ANCHOR_STOP_DB, width)
    middle = (ANCHOR_PASS_HZ + ANCHOR_STOP_HZ) / 2
    kernel = signal.firwin(taps | 1, middle, window=("kaiser", beta), fs=SAMPLE_RATE)
    low = signal.oaconvolve(original.double().numpy(), kernel[None], mode="full", axes=-1)
    delay = len(kernel) // 2
    return torch.from_numpy(low[:, delay : delay + original.shape[-1]].astype(np.float32))
