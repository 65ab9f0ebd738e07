"""Times and noise of the flow objective: draws of low variance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heartopt.optimize.settings import FlowSettings

# No time is drawn closer than this to the ends: at t = 0 there is no signal, at t = 1 no noise.
TIME_MARGIN = 1e-3
_PARTS = 10
_KEPT = 8  # last losses of each part
_UNIFORM_SHARE = 0.1  # keeps every weight below 10


def draw_noise(draws: int, length: int, width: int, generator: torch.Generator, *, antithetic: bool = True) -> Tensor:
    """Noise ``[draws, length, width]``; antithetic: each draw is followed by its negative."""
    if not antithetic:
        return torch.randn(draws, length, width, generator=generator)
    half = torch.randn(-(-draws // 2), length, width, generator=generator)
    return torch.stack((half, -half), dim=1).flatten(0, 1)[:draws]


@dataclass
class TimeSampler:
    """Draws times and their weights; learns from the losses where they are large.

    ``importance``: the square root of the mean of the last squared losses of each tenth of [0, 1] is its share of the
    draws, mixed with a uniform tenth; weights make up for it (Nichol & Dhariwal, arXiv 2102.09672, Eq. 18). Uniform
    until each part was seen `_KEPT` times.
    """

    settings: FlowSettings
    seen: list[list[float]] = field(default_factory=lambda: [[] for _ in range(_PARTS)])

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times and weights, ``[draws]`` each; the weights' expectation is 1."""
        draws = self.settings.draws
        places = torch.rand(draws, generator=generator)
        if self.settings.times != "uniform":
            places = (torch.arange(draws) + places) / draws
            # Which noise meets which time is shuffled, so that antithetic pairs are not always on neighbouring times.
            places = places[torch.randperm(draws, generator=generator)]
        weights = torch.ones(draws)
        if self.settings.times == "importance" and all(len(part) == _KEPT for part in self.seen):
            rms = torch.tensor(self.seen).square().mean(1).sqrt()
            share = (1 - _UNIFORM_SHARE) * rms / rms.sum() + _UNIFORM_SHARE / _PARTS
            ends = share.cumsum(0)
            part = torch.searchsorted(ends, places).clamp(max=_PARTS - 1)
            inside = (places - (ends - share)[part]) / share[part]
            places, weights = (part + inside) / _PARTS, 1 / (share[part] * _PARTS)
        return places.clamp(TIME_MARGIN, 1 - TIME_MARGIN), weights

    def learn(self, times: Tensor, losses: Tensor) -> None:
        """Take note of the losses ``[draws]`` at ``times``, unweighted; what is not finite is passed over."""
        for time, loss in zip(times.tolist(), losses.tolist(), strict=True):
            if not math.isfinite(loss):
                continue
            part = self.seen[min(int(time * _PARTS), _PARTS - 1)]
            part.append(loss)
            del part[:-_KEPT]
