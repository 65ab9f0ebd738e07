"""Metrics of mel spectra, `[C, N]` at 48 kHz."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from heartopt import losses
from heartopt.audio import SAMPLE_RATE
from heartopt.metrics.metric import EVERY_DISTORTION, Metric
from heartopt.metrics.pair import Pair, Signal
from heartopt.metrics.transforms import reduced_magnitude

#: Mel bands and samples of the window of each scale of `mel_multi`, as in DAC's training.
SCALES = ((5, 32), (10, 64), (20, 128), (40, 256), (80, 512), (160, 1024), (320, 2048))
_FLOOR = 1e-5
_BANDS_AT_ONCE = 40  # each reaches few of the FFT's bins: most of the bank is zeros


def multi_scale(pair: Pair) -> float:
    """Sum over `SCALES` of the mean L1 distance of log10 mel magnitudes, floored at 1e-5."""
    distances = [
        functional.l1_loss(_bands(pair.estimate, *scale), _bands(pair.target, *scale)) for scale in SCALES
    ]
    return float(torch.stack(distances).sum())


def _bands(signal: Signal, bins: int, size: int) -> Tensor:
    """log10 mel magnitudes `[C, bins, T]`."""

    def make() -> Tensor:
        bank = _bank(bins, size, signal.padded.device, signal.padded.dtype)

        def logs(levels: Tensor) -> Tensor:
            parts = [weights @ levels[..., inside, :] for inside, weights in bank]
            return torch.cat(parts, dim=-2).clamp_(min=_FLOOR).log10_()

        if size in losses.FFT_SIZES:  # their spectra are there already
            return logs(signal.magnitude(size))
        return reduced_magnitude(signal.padded, size, bins, logs)

    return signal.once(("mel", bins, size), make)


@lru_cache(maxsize=32)
def _bank(bins: int, size: int, device: torch.device, dtype: torch.dtype) -> tuple[tuple[slice, Tensor], ...]:
    """Slaney triangles of unit area, 40 bands at a time: the FFT's bins that they reach, and weights `[bands, bins]`.

    At short windows some bands have no bin: they are empty, in DAC as here, and say nothing.
    """
    with torch.inference_mode(False), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty bands
        bank: Tensor = torchaudio.functional.melscale_fbanks(
            size // 2 + 1, 0.0, SAMPLE_RATE / 2, bins, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        parts = []
        for part in bank.to(device=device, dtype=dtype).split(_BANDS_AT_ONCE, dim=1):
            reached = part.any(dim=1).nonzero()
            inside = slice(int(reached.min()), int(reached.max()) + 1)
            parts.append((inside, part[inside].T.contiguous()))
        return tuple(parts)


def _log_mel(signal: Signal) -> Tensor:
    return signal.once("log_mel", lambda: losses.log_mel(signal.magnitude(losses.MEL_FFT)))


def _log1p_mel(signal: Signal) -> Tensor:
    return signal.once("log1p_mel", lambda: losses.log1p_mel(signal.magnitude(losses.MEL_FFT)))


MEL = (
    Metric(
        name="mel",
        about="Mean L1 distance of log10 mel magnitudes: 80 HTK bands, FFT 1024, hop 256, floored at 1e-5",
        unit="decades",
        better="lower",
        tolerance=0.012,
        decimals=3,
        compute=lambda pair: float(functional.l1_loss(_log_mel(pair.estimate), _log_mel(pair.target))),
        range="0 up; a gain of 20 dB scores 1, silence about 4.9",
        source="the training report",
        sees=EVERY_DISTORTION,
        blind="phase and fine pitch",
    ),
    Metric(
        name="mel_multi",
        about="Sum over seven scales (5 to 320 bands, windows of 32 to 2048) of L1 distances of log10 mel magnitudes",
        unit="decades",
        better="lower",
        tolerance=0.1,
        compute=multi_scale,
        range="0 up",
        source="the mel loss of DAC (Kumar et al., arXiv 2306.06546), at 48 kHz",
        sees=EVERY_DISTORTION,
        blind="phase",
    ),
    Metric(
        name="mel_log1p",
        about="The training report's mel loss: L1 of ln(1 + power in 80 mel bands)",
        better="lower",
        tolerance=0.025,
        compute=lambda pair: float(functional.l1_loss(_log1p_mel(pair.estimate), _log1p_mel(pair.target))),
        range="0 up",
        source="the training report's script",
        sees=EVERY_DISTORTION,
        blind="phase, and quiet bands",
    ),
)
