"""Audio metrics by name, and how a pair of recordings is measured with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from heartopt import losses
from heartopt.audio import SAMPLE_RATE
from heartopt.errors import AudioError, ConfigError
from heartopt.metrics.perceptual import pesq_nb, pesq_wb
from heartopt.metrics.shimmer import shimmer_excess
from heartopt.metrics.waveform import si_sdr

SEGMENT_SECONDS = 30.0

Metric = Callable[[Tensor, Tensor], float | str]


def _number(loss: losses.Loss) -> Metric:
    return lambda estimate, target: float(loss(estimate, target))


def _unless_silent(loss: losses.Loss) -> Metric:
    """NaN for a silent target: spectral convergence divides by the target's energy, and would be in the thousands."""
    return lambda estimate, target: math.nan if losses.is_silent(target) else float(loss(estimate, target))


METRICS: Mapping[str, Metric] = {
    "stft": _unless_silent(losses.stft_loss),
    "stft_log1p": _unless_silent(losses.stft_log1p),
    "mel": _number(losses.mel_distance),
    "mel_log1p": _number(losses.mel_log1p),
    "si_sdr": si_sdr,
    "shimmer_db": _number(losses.shimmer_db),
    "shimmer_excess": shimmer_excess,
    "pesq_wb": pesq_wb,
    "pesq_nb": pesq_nb,
}
DEFAULT_METRICS = tuple(METRICS)


def measure(estimate: Tensor, target: Tensor, metrics: Sequence[str] | None = None) -> dict[str, float | str]:
    """Measure an estimate against its target, both `[C, N]` at 48 kHz, by the named `METRICS` (default: all).

    Recordings over 30 s are cut into equal segments of at most 30 s whose values are averaged: memory stays
    flat, and PESQ is not made for more. A value that is NaN in some segments is averaged over the others. A
    metric whose package is missing gives "not installed".

    Raises:
        AudioError: the shapes differ or are no `[C, N]`.
        ConfigError: an unknown metric.
    """
    names = check_metrics(DEFAULT_METRICS if metrics is None else metrics)
    if estimate.shape != target.shape or target.dim() != 2 or target.shape[-1] == 0:
        shapes = f"{list(estimate.shape)} and {list(target.shape)}"
        raise AudioError(f"estimate and target must be audio [C, N] of one shape, got {shapes}")
    count = math.ceil(target.shape[-1] / (SEGMENT_SECONDS * SAMPLE_RATE))
    segments = list(zip(estimate.tensor_split(count, -1), target.tensor_split(count, -1), strict=True))
    with torch.no_grad():
        return {name: average([METRICS[name](e, t) for e, t in segments]) for name in names}


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The names, if all of them are known. Raises ConfigError."""
    if unknown := [name for name in names if name not in METRICS]:
        raise ConfigError(f"unknown metric {', '.join(unknown)}: choose from {', '.join(METRICS)}")
    return tuple(names)


def average(values: Sequence[float | str]) -> float | str:
    """The mean of the numbers that are not NaN; NaN if there are none; a word ("not installed") as it is."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return next(value for value in values if isinstance(value, str))
    known = [value for value in numbers if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
