"""Metrics of the short-time spectrum. `[C, N]` at 48 kHz, Hann windows of 512, 1024 and 2048 samples, hop a quarter."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from heartopt import losses
from heartopt.metrics.metric import EVERY_DISTORTION, Metric, Value, all_but
from heartopt.metrics.pair import Pair

_FLOOR = 1e-4  # of a magnitude: auraloss' 1e-8 of its square
_PASSED = "phase, and what lies below a magnitude of 1e-4 (about 134 dB under a full-scale tone)"
_AURALOSS = "auraloss `MultiResolutionSTFTLoss` (Steinmetz & Reiss 2020; Yamamoto et al., arXiv 1910.11480)"


def unless_silent(compute: Callable[[Pair], Value]) -> Callable[[Pair], Value]:
    """NaN for a silent target: a ratio to its energy would be in the thousands."""
    return lambda pair: math.nan if pair.target.silent else compute(pair)


def parts(pair: Pair, size: int) -> tuple[float, float, float]:
    """At one FFT size: spectral convergence ‖T − E‖ / ‖T‖; mean L1 distance of ln magnitudes; log-spectral distance.

    That is the root mean square over bins of the levels' difference in dB, mean over frames and channels.
    """

    def make() -> tuple[float, float, float]:
        e, t = (signal.magnitude(size).clamp(min=_FLOOR) for signal in (pair.estimate, pair.target))
        ratio = float(losses.convergence(e, t))
        apart = e.log_().sub_(t.log_())  # in place: a new tensor of this size costs more than the logarithm
        distance = 20 / math.log(10) * torch.linalg.vector_norm(apart, dim=-2).mean() / math.sqrt(apart.shape[-2])
        return ratio, float(apart.abs_().mean()), float(distance)

    return pair.once(("stft", size), make)


def _mean(pair: Pair, which: int) -> float:
    return math.fsum(parts(pair, size)[which] for size in losses.FFT_SIZES) / len(losses.FFT_SIZES)


def _at(size: int) -> Callable[[Pair], Value]:
    return lambda pair: sum(parts(pair, size)[:2])


SPECTRAL = (
    Metric(
        name="stft",
        about="The tier metric: spectral convergence + L1 of ln magnitudes, mean over three FFT sizes",
        better="lower",
        tolerance=0.04,
        compute=unless_silent(lambda pair: _mean(pair, 0) + _mean(pair, 1)),
        range="0 up; of the songs here, silence scores 5.7 and another song 3.3",
        source=_AURALOSS,
        sees=EVERY_DISTORTION,
        blind=_PASSED,
    ),
    *(
        Metric(
            name=f"stft_{size}",
            about=f"`stft` at the FFT of {size} samples alone ({1000 * size / 48_000:.0f} ms)",
            better="lower",
            tolerance=0.05,
            compute=unless_silent(_at(size)),
            range="as `stft`",
            source=_AURALOSS,
            sees=EVERY_DISTORTION,
            blind=_PASSED,
        )
        for size in losses.FFT_SIZES
    ),
    Metric(
        name="stft_sc",
        about="The spectral convergence in `stft`: relative error of the loud cells",
        better="lower",
        tolerance=0.02,
        compute=unless_silent(lambda pair: _mean(pair, 0)),
        range="0 up; silence 1",
        source=_AURALOSS,
        sees=EVERY_DISTORTION,
        blind="phase, and quiet cells: a low-pass hardly moves it",
    ),
    Metric(
        name="stft_log",
        about="The L1 distance of ln magnitudes in `stft`: all cells alike, loud or quiet",
        better="lower",
        tolerance=0.04,
        compute=unless_silent(lambda pair: _mean(pair, 1)),
        range="0 up; silence about 4.7",
        source=_AURALOSS,
        sees=EVERY_DISTORTION,
        blind=_PASSED,
    ),
    Metric(
        name="stft_log1p",
        about="The training report's STFT loss: spectral convergence + L1 of ln(1 + magnitude)",
        better="lower",
        tolerance=0.025,
        compute=unless_silent(lambda pair: float(losses.log1p_of(pair.magnitudes))),
        range="0 up; silence only 1.2, so it is never tiered",
        source="the training report's script",
        sees=EVERY_DISTORTION,
        blind="phase, and quiet cells: silence scores better than another song",
    ),
    Metric(
        name="stft_phase",
        about="Mean absolute phase difference over all cells",
        unit="rad",
        better="lower",
        tolerance=0.02,
        compute=unless_silent(lambda pair: float(losses.phase_of(pair.spectra))),
        range="0 to pi; unrelated phases pi/2, and so does silence",
        source="the training report's script",
        sees=all_but("shift", "gain"),
        blind="levels; inaudible cells count like all others, and a delay of some samples is enough for pi/2",
    ),
    Metric(
        name="stft_hf",
        about="L1 of ln(1 + magnitude) in 4-8 kHz, taken over all bins",
        better="lower",
        tolerance=0.001,
        decimals=3,
        compute=lambda pair: float(losses.high_of(pair.magnitudes)),
        range="0 up",
        source="the training report's script",
        sees=EVERY_DISTORTION,
        blind="phase, and everything outside 4-8 kHz",
    ),
    Metric(
        name="lsd",
        about="Log-spectral distance at 2048 samples: RMS over bins of the levels' difference, mean over frames",
        unit="dB",
        better="lower",
        tolerance=0.4,
        decimals=1,
        compute=unless_silent(lambda pair: parts(pair, losses.FFT_SIZES[-1])[2]),
        range="0 up; a gain of x dB scores x",
        source="Gray & Markel, IEEE TASSP 24(5), 1976",
        sees=all_but("opus"),
        blind=f"{_PASSED}; Opus from 32 kbit/s down scores alike",
    ),
)
