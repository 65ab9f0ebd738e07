"""What shimmer is: bins of a noisy band (5.1-7.2 kHz) that stand out narrowly, and how far each is to be turned down.

`T` frames of the transform, `K` of its bins inside the band. Frame by frame: a bin that stands out above the running
median of its neighbours by more than a threshold is attenuated by a share of the excess, but only where the band is
noise-like, where its power does not jump (a transient), and where few bins stand out (more is music, not ringing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heartopt.errors import ConfigError

_FLOOR = 1e-12  # added to squared magnitudes: far below what 24 bits resolve


@dataclass(frozen=True)
class DeshimmerParams:
    """What counts as shimmer, and how much of it goes. Pairs are the ends of linear ramps.

    `low`, `high`: the band in Hz. `threshold`: dB above the running median over `median_bins` bins; `slope`: dB of
    attenuation for each dB above it. `flatness` (geometric over arithmetic mean power of the band): no effect to full
    effect. `transient` (dB by which the band's power rises from one frame to the next) and `density` (share of bins
    above the threshold): full effect to none. `edge`: Hz over which the effect sets in at either end of the band.
    `resynthesis`: 0 to 1, how much of a noisy band gets random phases, drawn from `seed` and the same for all channels:
    their levels stay, but what was in opposite phase gets in phase by that much.
    `mix`: 0 dry to 1 wet. `fade`: seconds at either end. `fft_size`, `hop`: samples, whatever the rate.

    Raises:
        ConfigError: a value out of range.
    """

    low: float = 5_100.0
    high: float = 7_200.0
    threshold: float = 8.0
    slope: float = 0.6
    median_bins: int = 9
    flatness: tuple[float, float] = (0.25, 0.70)
    transient: tuple[float, float] = (6.0, 14.0)
    density: tuple[float, float] = (0.02, 0.15)
    edge: float = 200.0
    resynthesis: float = 0.0
    seed: int = 0
    mix: float = 1.0
    fade: float = 0.005
    fft_size: int = 2_048
    hop: int = 512

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high < math.inf:
            raise ConfigError(f"deshimmer band must rise from 0 Hz or more, got {self.low:g} to {self.high:g} Hz")
        for name in ("threshold", "slope", "edge", "fade"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"deshimmer {name} must be a number of 0 or more, got {getattr(self, name)}")
        for name in ("resynthesis", "mix"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"deshimmer {name} must be from 0 to 1, got {getattr(self, name)}")
        for name in ("flatness", "transient", "density"):
            pair = tuple(getattr(self, name))
            object.__setattr__(self, name, pair)  # JSON and YAML have no tuples
            if len(pair) != 2 or not -math.inf < pair[0] < pair[1] < math.inf:
                raise ConfigError(f"deshimmer {name} must be two rising numbers, got {list(pair)}")
        if self.median_bins < 3 or self.median_bins % 2 == 0:
            raise ConfigError(f"deshimmer median_bins must be odd and at least 3, got {self.median_bins}")
        if self.hop < 1 or self.fft_size < 1 or self.fft_size % (2 * self.hop):
            raise ConfigError(
                f"deshimmer fft_size must be a multiple of two hops, got {self.fft_size} and a hop of {self.hop}"
            )
        if self.seed < 0:
            raise ConfigError(f"deshimmer seed must be 0 or more, got {self.seed}")

    @classmethod
    def around(cls, centre: float, cents: float, **settings: Any) -> DeshimmerParams:
        """The band by its geometric centre in Hz and its whole width in cents. Raises ConfigError."""
        if not (0 < centre < math.inf and 0 < cents <= 12_000):
            raise ConfigError(
                "deshimmer band must have a centre above 0 Hz and be up to 12000 cents wide, "
                f"got {centre:g} Hz and {cents:g} cents"
            )
        half = 2 ** (cents / 2_400)
        return cls(low=centre / half, high=centre * half, **settings)

    def bins(self, sample_rate: int) -> range:
        """The bins inside the band. Raises ConfigError: it passes the Nyquist frequency, or is too narrow."""
        if self.high > sample_rate / 2:
            raise ConfigError(
                f"deshimmer band ends at {self.high:g} Hz, but audio at {sample_rate} Hz at {sample_rate / 2:g} Hz: "
                "choose a lower band"
            )
        width = sample_rate / self.fft_size  # Hz
        found = range(math.ceil(self.low / width), math.floor(self.high / width) + 1)
        if len(found) < self.median_bins:
            raise ConfigError(
                f"deshimmer band of {self.low:g} to {self.high:g} Hz has {len(found)} bins at {sample_rate} Hz, "
                f"but the median takes {self.median_bins}: choose a wider band or a larger fft_size"
            )
        return found


@dataclass(frozen=True)
class Shimmer:
    """What stands out in the band of some frames, and what is to be done about it."""

    seconds: Tensor  # [T] centres of the frames
    hertz: Tensor  # [K]
    level_db: Tensor  # [T, K] squared magnitude (the magnitude's mean over the channels) in dB
    residual_db: Tensor  # [T, K] level above its running median
    stands_out: Tensor  # [T, K] bool: residual above the threshold
    noise: Tensor  # [T] 0 tonal to 1 noise-like
    gain: Tensor  # [T, K] factor on the magnitude, before `mix` and `resynthesis`
    edge: Tensor  # [K] 0 at the band's ends to 1 inside

    @property
    def attenuation_db(self) -> Tensor:
        """What the gains take away: `[T, K]`, 0 or more dB."""
        return -20 * self.gain.log10()

    @property
    def share(self) -> float:
        """Share of all cells that stand out, 0 to 1."""
        return float(self.stands_out.double().mean())

    @classmethod
    def joined(cls, parts: Sequence[Shimmer]) -> Shimmer:
        """Parts of one signal, in order, as one."""
        over_time = ("seconds", "level_db", "residual_db", "stands_out", "noise", "gain")
        whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in over_time}
        return cls(hertz=parts[0].hertz, edge=parts[0].edge, **whole)


def judge(magnitude: Tensor, seconds: Tensor, hertz: Tensor, params: DeshimmerParams) -> Shimmer:
    """`magnitude [T + 1, K]` of the band, led by the frame before the first; `seconds [T]`, `hertz [K]`.

    Each frame is judged by itself and the one before it, so how frames are grouped changes nothing.
    """
    power = magnitude.square() + _FLOOR
    level = 10 * power.log10()
    mean = power.mean(dim=1)
    rise = (10 * mean.log10()).diff()
    power, level, mean = power[1:], level[1:], mean[1:]
    residual = level - running_median(level, params.median_bins)
    attenuation = params.slope * (residual - params.threshold).clamp(min=0)
    stands_out = residual > params.threshold

    noise = _ramp(10 ** (level.mean(dim=1) / 10) / mean, *params.flatness)
    steady = 1 - _ramp(rise, *params.transient)
    narrow = 1 - _ramp(stands_out.to(level.dtype).mean(dim=1), *params.density)
    inside = torch.minimum(hertz - params.low, params.high - hertz)
    edge = (1 - torch.cos(math.pi * _ramp(inside, 0, params.edge))) / 2 if params.edge else torch.ones_like(hertz)
    gain = 1 - (noise * steady * narrow)[:, None] * edge * (1 - 10 ** (-attenuation / 20))
    return Shimmer(seconds, hertz, level, residual, stands_out, noise, gain, edge)


def running_median(values: Tensor, width: int) -> Tensor:
    """Median of the `width` (odd) neighbours around each of `[T, K]`, first and last repeated at the ends.

    Sorts by exchanging whole shifted tensors (odd-even transposition): for nine neighbours several times faster than
    `torch.median` over windows.
    """
    count, half = values.shape[1], width // 2
    padded = torch.cat([values[:, :1].expand(-1, half), values, values[:, -1:].expand(-1, half)], dim=1)
    row = [padded[:, shift : shift + count] for shift in range(width)]
    for turn in range(width):
        for left in range(turn % 2, width - 1, 2):
            pair = row[left], row[left + 1]
            row[left], row[left + 1] = torch.minimum(*pair), torch.maximum(*pair)
    return row[half]


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    """0 up to `low`, 1 from `high` on, a line between."""
    return ((values - low) / (high - low)).clamp(0, 1)
