"""Band-limited resampling in parts that equal the whole: any span of the output from the input it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.transforms import Resample

from heartopt.errors import AudioError

# Kaiser-windowed sinc. With 128 zero crossings a side and beta 10 (stop band under -95 dB) the transition is
# 5.3 % of the lower rate's Nyquist frequency, centred on the rolloff: 44.1 -> 48 kHz is flat to 20.5 kHz and
# has nothing left at 22.05 kHz. torchaudio's defaults (6 crossings, Hann, rolloff 0.99) leak at -20 dB.
ZERO_CROSSINGS = 128
ROLLOFF = 0.97
KAISER_BETA = 10.0

_SPAN = 1 << 19  # output samples computed at a time
_LARGEST_KERNEL = 1 << 22  # values; rates without a common divisor would need gigabytes
_DIRECT_SPAN = 1 << 12  # output samples at a time where each has filter weights of its own
_PHASES = 1024

Read = Callable[[int, int], Tensor]


def resampled_length(num_samples: int, source_rate: int, target_rate: int) -> int:
    """``ceil(num_samples * target_rate / source_rate)``, exactly."""
    return -(-num_samples * target_rate // source_rate)


def resample(audio: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample ``audio [..., N]`` (floating point) to ``[..., ceil(N * target_rate / source_rate)]``.

    Aliasing and imaging stay below -80 dB. Beyond both ends the signal counts as zero. Differentiable.

    Raises:
        AudioError: not floating point, no samples, or a rate below 1.
    """
    if not audio.is_floating_point() or audio.dim() == 0:
        raise AudioError(
            f"resampling needs floating-point samples [..., N], not {audio.dtype} {list(audio.shape)}"
        )
    total = audio.shape[-1]
    stop = resampled_length(total, source_rate, target_rate) if min(source_rate, target_rate) > 0 else 0
    return resample_span(lambda a, b: audio[..., a:b], total, source_rate, target_rate, 0, stop)


def resample_span(
    read: Read, total: int, source_rate: int, target_rate: int, start: int, stop: int
) -> Tensor:
    """Samples ``[start, stop)`` of the resampled signal, reading only the input that they depend on.

    Equal to the same slice of the whole up to float32 rounding: pieces begin at multiples of the rates'
    period, where the filter's phases repeat, and carry the filter's width on both sides.

    Args:
        read: gives input samples ``[a, b)`` as ``[..., b - a]``, for ``0 <= a < b <= total``.
        total: input samples there are.
        start, stop: output positions, ``0 <= start < stop <= resampled_length(total, ...)``.

    Raises:
        AudioError: a rate below 1, or an empty span.
    """
    if min(source_rate, target_rate) < 1:
        raise AudioError(f"cannot resample from {source_rate} Hz to {target_rate} Hz")
    if not 0 <= start < stop <= resampled_length(total, source_rate, target_rate):
        raise AudioError(
            f"samples {start} to {stop} are not in a signal of {total} samples at {source_rate} Hz"
        )
    if source_rate == target_rate:
        return read(start, stop)
    divisor = math.gcd(source_rate, target_rate)
    period_in, period_out = source_rate // divisor, target_rate // divisor
    width = math.ceil(ZERO_CROSSINGS * period_in / (min(period_in, period_out) * ROLLOFF))
    few_phases = period_out * (period_in + 2 * width) <= _LARGEST_KERNEL
    output: Tensor | None = None
    for first in range(start, stop, _SPAN):
        last = min(first + _SPAN, stop)
        if few_phases:
            block = max(0, first // period_out - math.ceil(width / period_in))  # begin where a period begins
            begin = block * period_in
            samples = read(begin, min(total, math.ceil(last / period_out) * period_in + width))
            resampler = _resampler(period_in, period_out, samples.dtype).to(samples.device)
            skipped = block * period_out
            piece = resampler(samples.contiguous())[..., first - skipped : last - skipped]
        else:
            begin = max(0, first * period_in // period_out - width)
            samples = read(begin, min(total, (last - 1) * period_in // period_out + width + 1))
            piece = _weigh_directly(samples, begin, period_in, period_out, first, last)
        if output is None:
            output = piece.new_empty(*piece.shape[:-1], stop - start)
        output[..., first - start : last - start] = piece
    assert output is not None  # the span is not empty
    return output


@lru_cache(maxsize=16)
def _resampler(period_in: int, period_out: int, dtype: torch.dtype) -> Resample:
    """torchaudio's resampler; the filter is computed once, in float64 (in its functional form: float32)."""
    return Resample(
        period_in,
        period_out,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=ZERO_CROSSINGS,
        rolloff=ROLLOFF,
        beta=KAISER_BETA,
        dtype=torch.float64 if dtype == torch.float64 else None,
    )


def _weigh_directly(
    samples: Tensor, begin: int, period_in: int, period_out: int, first: int, last: int
) -> Tensor:
    """The same filter for rates with next to no common divisor (44,099 Hz, say): too many phases to keep.

    ``samples [..., n]`` are the input from position ``begin`` on; gives output ``[first, last)``. Each
    output's weights are interpolated between the two nearest of 1024 phases (error below -110 dB).
    """
    table = _phase_table(period_in, period_out, samples.dtype).to(samples.device)
    taps = table.shape[1]
    padded = torch.nn.functional.pad(samples, (taps // 2, taps // 2))
    pieces = []
    for low in range(first, last, _DIRECT_SPAN):
        outputs = torch.arange(low, min(low + _DIRECT_SPAN, last), device=samples.device)
        phase = (outputs * period_in % period_out).double() / period_out * _PHASES
        lower = phase.long()
        weights = torch.lerp(table[lower], table[lower + 1], (phase - lower).to(table.dtype)[:, None])
        windows = padded.unfold(-1, taps, 1)[..., outputs * period_in // period_out - begin, :]
        pieces.append((windows * weights).sum(-1))
    return torch.cat(pieces, dim=-1)


@lru_cache(maxsize=4)
def _phase_table(period_in: int, period_out: int, dtype: torch.dtype) -> Tensor:
    """Filter weights ``[1024 + 1 phases, taps]``: row p weighs the input around p / 1024 past a sample."""
    cutoff = min(period_in, period_out) / period_in * ROLLOFF  # of the input's Nyquist frequency
    width = math.ceil(ZERO_CROSSINGS / cutoff)
    taps = torch.arange(-width, width + 1, dtype=torch.float64)
    phases = torch.arange(_PHASES + 1, dtype=torch.float64) / _PHASES
    t = ((taps - phases[:, None]) * cutoff).clamp_(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    beta = torch.tensor(KAISER_BETA, dtype=torch.float64)
    window = torch.special.i0(beta * (1 - (t / ZERO_CROSSINGS) ** 2).sqrt()) / torch.special.i0(beta)
    weights: Tensor = torch.sinc(t) * window * cutoff
    return weights.to(dtype)
