"""Metrics of the waveform itself, `[C, N]` at 48 kHz."""

from __future__ import annotations

import scipy.fft
import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.metrics.metric import Metric, all_but
from heartopt.metrics.pair import Pair

#: The longest delay that is looked for, either way.
MOST_DELAY_SECONDS = 0.05
_LIMIT_DB = 100.0
_ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}  # of a mean: what is left of a constant after it
_NOTHING_LEFT_DB = -10.0  # of si_sdr: an estimate that shares a tenth of its energy with the target


def si_sdr(estimate: Tensor, target: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, `[C, N]` twice, limited to ±100 dB.

    Higher is better. Each channel's mean is removed; one scale serves all channels. 100 is a perfect copy
    (up to gain), -100 an estimate without anything of the target (silence, or a silent target). Not
    delay-aligned, and a generative decoder does not keep the phase: values near or below 0 are normal for
    HeartCodec. Source: Le Roux et al., arXiv 1811.02508.
    """
    e, t = (_centred(x, torch.float64).flatten() for x in (estimate, target))
    energy = torch.dot(t, t)
    if energy == 0:
        return _LIMIT_DB if not e.any() else -_LIMIT_DB
    scale = torch.dot(e, t) / energy
    signal = scale.square() * energy
    if signal == 0:
        return -_LIMIT_DB
    rest = e.sub_(scale * t)
    ratio = signal / torch.dot(rest, rest).clamp(min=1e-30)
    return float((10 * ratio.log10()).clamp(-_LIMIT_DB, _LIMIT_DB))


def _centred(audio: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of `[C, N]` without each channel's mean. Of a constant, nothing is left."""
    samples = audio.to(dtype, copy=True)
    mean = samples.mean(dim=-1, keepdim=True)
    low, high = samples.sub_(mean).aminmax(dim=-1, keepdim=True)
    return samples.masked_fill_(torch.maximum(-low, high) <= _ROUNDING[dtype] * mean.abs(), 0)


def delay(estimate: Tensor, target: Tensor) -> int:
    """By how many samples the estimate `[C, N]` comes later than the target; negative: earlier.

    The peak of the magnitude of the cross-correlation, summed over channels, within `MOST_DELAY_SECONDS` (and less
    than half of the audio) either way; the smallest of equal peaks, 0 where either side is silent.
    """
    samples = target.shape[-1]
    most = min(round(MOST_DELAY_SECONDS * SAMPLE_RATE), max(0, samples // 2 - 1))
    length = scipy.fft.next_fast_len(samples + most, real=True)
    spectra = [torch.fft.rfft(_centred(x, torch.float32), length) for x in (estimate, target)]
    correlation = torch.fft.irfft((spectra[0] * spectra[1].conj()).sum(dim=0), length).abs()
    lags = torch.cat([correlation[length - most :], correlation[: most + 1]]) if most else correlation[:1]
    if not float(lags.max()) > 0:
        return 0
    peaks = (lags >= lags.max() * (1 - 1e-6)).nonzero()[:, 0] - most
    return int(peaks[peaks.abs().argmin()])


def _delay_of(pair: Pair) -> int:
    return pair.once("delay", lambda: delay(pair.estimate.audio, pair.target.audio))


def _aligned(pair: Pair) -> float:
    """`si_sdr` of what overlaps once the delay is taken back."""
    late = _delay_of(pair)
    if late == 0:
        return pair.once("si_sdr", lambda: si_sdr(pair.estimate.audio, pair.target.audio))
    samples = pair.target.audio.shape[-1]
    estimate = pair.estimate.audio[:, max(late, 0) : samples + min(late, 0)]
    return si_sdr(estimate, pair.target.audio[:, max(-late, 0) : samples + min(-late, 0)])


WAVEFORM = (
    Metric(
        name="si_sdr",
        about="Scale-invariant signal-to-distortion ratio of the waveform, not aligned",
        unit="dB",
        better="higher",
        tolerance=0.5,
        floor=_NOTHING_LEFT_DB,
        decimals=1,
        compute=lambda pair: pair.once("si_sdr", lambda: si_sdr(pair.estimate.audio, pair.target.audio)),
        range="-100 to 100 (a perfect copy, up to gain); a decoder that makes its own phases is near 0 or below",
        source="Le Roux et al., arXiv 1811.02508",
        sees=all_but("shift", "gain"),
        blind="gain; a delay of a few samples ruins it, and a longer one no further",
    ),
    Metric(
        name="si_sdr_aligned",
        about="`si_sdr` after the delay (`delay_ms`) is taken back",
        unit="dB",
        better="higher",
        tolerance=0.5,
        floor=_NOTHING_LEFT_DB,
        decimals=1,
        compute=_aligned,
        range="as `si_sdr`",
        source="Le Roux et al., arXiv 1811.02508; peak of the cross-correlation within 50 ms",
        sees=all_but("shift", "gain"),
        blind="gain, delays up to 50 ms",
    ),
    Metric(
        name="delay_ms",
        about="By how much the estimate comes later than the target; negative: earlier",
        unit="ms",
        better="zero",
        tolerance=20.0,
        decimals=2,
        compute=lambda pair: 1000 * _delay_of(pair) / SAMPLE_RATE,
        range="-50 to 50; chance where the two have nothing in common",
        source="peak of the cross-correlation over 50 ms either way",
        sees=("shift",),
        blind="everything else",
    ),
)
