"""The objectives of a descent: what is drawn for a step, and its slope, for windows that are fitted together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from heartopt.codec.model import HeartCodec
from heartopt.codec.solver import draw_picks
from heartopt.losses import is_silent
from heartopt.optimize.objective import WindowTarget, decode_windows, flow_losses, sound_terms, term_weights
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.times import TimeSampler, draw_noise
from heartopt.seeding import keyed_generator

#: Seconds of sound decoded at once, at the least.
SHORTEST_PIECE = 0.5


class Slope(NamedTuple):
    """Each window's loss, the gradient ``[ΣF, d]`` of their sum with regard to all vectors, each one's STFT loss."""

    losses: tuple[float, ...]
    gradient: Tensor
    stfts: tuple[float, ...]


@dataclass(frozen=True)
class Windows:
    """Windows that are fitted together: their targets, and their numbers in the song, which their draws depend on."""

    codec: HeartCodec
    targets: tuple[WindowTarget, ...]
    numbers: tuple[int, ...]

    def generators(self, seed: int, purpose: str) -> list[torch.Generator]:
        return [keyed_generator(seed, purpose, number) for number in self.numbers]

    def split(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """``[ΣF, d]`` -> each window's own."""
        parts: tuple[Tensor, ...] = vectors.split([int(target.free.max()) + 1 for target in self.targets])
        return parts

    def conditions(self, vectors: Tensor) -> Tensor:
        """``[ΣF, d]`` -> each window's condition ``[W, L, D]``."""
        flow, parts = self.codec.flow_matching, zip(self.targets, self.split(vectors), strict=True)
        return torch.cat([target.condition(flow, own) for target, own in parts])


class Phase(Protocol):
    """An objective's stochastic loss.

    ``generators``: of what ``draw`` draws for one step, a window each. ``halve``: use less memory, False where it
    cannot.
    """

    generators: list[torch.Generator]

    def draw(self) -> Callable[[Tensor], Slope]: ...

    def halve(self) -> bool: ...


class FlowPhase:
    """`flow_losses` under noise and times drawn anew for every step, in batches of at most `at_once` items."""

    def __init__(self, windows: Windows, settings: OptimizeSettings) -> None:
        self.windows, self.settings = windows, settings.flow
        self.generators = windows.generators(settings.seed, "flow")
        self.samplers = [TimeSampler(settings.flow) for _ in windows.targets]
        self.at_once = len(windows.targets) * settings.flow.draws

    def draw(self) -> Callable[[Tensor], Slope]:
        targets, draws = self.windows.targets, self.settings.draws
        device, (length, width) = targets[0].latents.device, targets[0].latents.shape
        drawn = [sampler.draw(g) for sampler, g in zip(self.samplers, self.generators, strict=True)]
        times, weights = (torch.cat(values).to(device) for values in zip(*drawn, strict=True))
        antithetic = self.settings.antithetic
        noises = [draw_noise(draws, length, width, g, antithetic=antithetic) for g in self.generators]
        noise = torch.cat(noises).to(device)
        item = torch.arange(len(targets)).repeat_interleave(draws)

        def slope(vectors: Tensor) -> Slope:
            gradient, losses = torch.zeros_like(vectors), []
            parts = (values.split(self.at_once) for values in (item, times, weights, noise))
            for part, time, weight, own in zip(*parts, strict=True):
                mu = self.windows.conditions(vectors)[part.to(device)]
                chosen = [targets[number] for number in part.tolist()]
                found = flow_losses(self.windows.codec.flow_matching, chosen, mu, times=time, noise=own)
                gradient += torch.autograd.grad((weight * found).sum() / draws, vectors)[0]
                losses.append(found.detach())
            found = torch.cat(losses)
            for sampler, time, own in zip(self.samplers, times.split(draws), found.split(draws), strict=True):
                sampler.learn(time, own)
            means = (weights * found).unflatten(0, (-1, draws)).mean(1)
            return Slope(tuple(means.tolist()), gradient, (math.nan,) * len(targets))

        return slope

    def halve(self) -> bool:
        if self.at_once == 1:
            return False
        self.at_once //= 2
        return True


class OdePhase:
    """Losses of the decoded sound under noise drawn anew for every step, one draw after the other.

    The flow of at most `at_once` windows is solved together; their sounds are made one by one.
    """

    def __init__(self, windows: Windows, settings: OptimizeSettings) -> None:
        self.windows, self.settings = windows, settings.ode
        self.guidance_scale = settings.guidance_scale
        self.generators = windows.generators(settings.seed, "ode")
        self.weights = term_weights(settings.ode)
        self.at_once = len(windows.targets)

    def draw(self) -> Callable[[Tensor], Slope]:
        own = self.settings
        length, width = self.windows.targets[0].latents.shape
        noise = torch.stack([draw_noise(own.draws, length, width, g) for g in self.generators], dim=1)
        picks = [
            torch.stack([draw_picks(own.gradient_steps, own.solver_steps, g) for g in self.generators])
            for _ in range(own.draws)
        ]

        def slope(vectors: Tensor) -> Slope:
            gradient = torch.zeros_like(vectors)
            losses, stfts = ([0.0] * len(self.windows.targets) for _ in range(2))
            for drawn, picked in zip(noise.to(vectors.device), picks, strict=True):
                for part in torch.arange(len(drawn)).split(self.at_once):
                    terms = self._terms(vectors, part, drawn, picked)
                    total = torch.stack([self._weighted(found) for found in terms]).sum()
                    gradient += torch.autograd.grad(total, vectors)[0] / own.draws
                    for number, found in zip(part.tolist(), terms, strict=True):
                        losses[number] += float(self._weighted(found).detach()) / own.draws
                        stfts[number] += float(found["stft"].detach()) / own.draws
            return Slope(tuple(losses), gradient, tuple(stfts))

        return slope

    def _terms(self, vectors: Tensor, part: Tensor, noise: Tensor, picks: Tensor) -> list[dict[str, Tensor]]:
        """The sounds' losses of the windows ``part``."""
        codec, device = self.windows.codec, vectors.device
        targets = [self.windows.targets[number] for number in part.tolist()]
        latents = decode_windows(
            codec.flow_matching,
            targets,
            self.windows.conditions(vectors)[part.to(device)],
            noise=noise[part.to(device)],
            picks=picks[part],
            guidance_scale=self.guidance_scale,
            num_steps=self.settings.solver_steps,
            checkpointing=self.settings.checkpointing,
        )
        return [
            {"stft": 0 * own.sum()} if is_silent(target.audio) else sound_terms(codec, target, own, self.settings)
            for target, own in zip(targets, latents, strict=True)
        ]

    def _weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def halve(self) -> bool:
        if self.at_once > 1:
            self.at_once //= 2
        elif self.settings.piece_seconds > SHORTEST_PIECE:
            shorter = max(self.settings.piece_seconds / 2, SHORTEST_PIECE)
            self.settings = replace(self.settings, piece_seconds=shorter)
        elif not self.settings.checkpointing:
            self.settings = replace(self.settings, checkpointing=True)
        else:
            return False
        return True


PHASES: Mapping[str, Callable[[Windows, OptimizeSettings], Phase]] = {"flow": FlowPhase, "ode": OdePhase}
