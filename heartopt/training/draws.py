"""What the objectives draw at random: times, noise and context, keyed by what they are for.

Nothing here keeps a state: a draw is a function of its key (seed, purpose, step or item). A resumed run therefore sees
the draws of the uninterrupted one, and an item's draws do not depend on which process trains it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.seeding import keyed_generator
from heartopt.training.crops import Batch
from heartopt.training.settings import TrainSettings

#: The share of items that get context frames, as in the decoder's own training.
CONTEXT_SHARE = 0.4


@dataclass(frozen=True)
class QuantizerNoise:
    """The quantizer's noise on the items whose numbers in the run are `items`; drawn, on the CPU, when its shape is
    known.
    """

    seed: int
    items: tuple[int, ...]

    def dither(self, frames: int, width: int) -> Tensor:
        """`[B, F, d]`, standard normal."""
        return self._stack("dither", lambda source: torch.randn(frames, width, generator=source))

    def gumbel(self, levels: int, frames: int, candidates: int) -> Tensor:
        """`[B, K, F, candidates]`, standard Gumbel: −log of an exponential draw."""
        tiny = torch.finfo(torch.float32).tiny
        shape = (levels, frames, candidates)
        return self._stack(
            "gumbel", lambda source: -torch.empty(shape).exponential_(generator=source).clamp_min(tiny).log()
        )

    def _stack(self, purpose: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(keyed_generator(self.seed, purpose, item)) for item in self.items])


@dataclass(frozen=True)
class Draws:
    """What one pass needs at random, for a batch of `B` items of `L` latent frames; None where nothing asks for it.

    Of `flow`: `times` `[B]` in [0, 1); `noise` `[B, L, C]`, standard normal; `context` `[B, L]` bool, True on frames
    given to the decoder as known. Of `ode`: `ode_noise` `[B, L, C]`, where its path begins.
    """

    times: Tensor | None = None
    noise: Tensor | None = None
    context: Tensor | None = None
    ode_noise: Tensor | None = None
    quantizer: QuantizerNoise | None = None

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on `device`."""
        tensors = (self.times, self.noise, self.context, self.ode_noise)
        times, noise, context, ode_noise = (None if tensor is None else tensor.to(device) for tensor in tensors)
        return Draws(times, noise, context, ode_noise, self.quantizer)


def stratified_times(count: int, source: torch.Generator) -> Tensor:
    """`[count]` times, one in each of `count` equal parts of [0, 1), in random order: less variance than free
    draws.
    """
    return (torch.randperm(count, generator=source) + torch.rand(count, generator=source)) / count


def step_draws(settings: TrainSettings, *, step: int, items: Sequence[int], total: int, batch: Batch) -> Draws:
    """What `settings.objective` and its quantizer need at random for `batch` in training step `step`.

    The batch holds the items `items` of the step's `total`, over all processes: times are spread evenly over all of
    these, and all else is keyed by the item's own number, so how they are shared out changes nothing.
    """
    seed, numbers = settings.seed, [step * total + item for item in items]
    draws = Draws(quantizer=QuantizerNoise(seed, tuple(numbers)))
    _, frames, channels = batch.targets.shape
    if "flow" in settings.objective:
        times = stratified_times(total, keyed_generator(seed, "times", step))[list(items)]
        noise, context = _noise_and_context(seed, numbers, batch)
        draws = dataclasses.replace(draws, times=times, noise=noise, context=context)
    if "ode" in settings.objective:
        sources = [keyed_generator(seed, "ode", number) for number in numbers]
        ode_noise = torch.stack([torch.randn(frames, channels, generator=source) for source in sources])
        draws = dataclasses.replace(draws, ode_noise=ode_noise)
    return draws


def _noise_and_context(seed: int, numbers: Sequence[int], batch: Batch) -> tuple[Tensor, Tensor]:
    """Noise `[B, L, C]` and context `[B, L]`: a prefix of 1 to half of an item's own code frames, on `CONTEXT_SHARE` of
    the items. Frames that only fill the crop are not counted, so the other half is left to learn from.
    """
    noise = torch.empty(batch.targets.shape)
    context = torch.zeros(batch.real.shape, dtype=torch.bool)
    for row, own in enumerate(batch.real.sum(1).tolist()):
        source = keyed_generator(seed, "item", numbers[row])
        noise[row] = torch.randn(noise.shape[1:], generator=source)
        chance, length = torch.rand(2, generator=source).tolist()
        half = own // LATENTS_PER_CODE // 2
        if half and chance < CONTEXT_SHARE:
            context[row, : LATENTS_PER_CODE * (1 + int(length * half))] = True
    return noise, context


def fixed_draws(keys: Sequence[str], *, frames: int, channels: int, times: int) -> Iterator[Draws]:
    """`times` passes of `flow` over one item a key, `frames` latent frames of `channels` values each; no context.

    An item's draws follow from its key and the pass alone: the same in every run, and whatever else is in the batch.
    Pass `j` is in part `j` of `times` equal parts of [0, 1), so every item meets every part once.
    """
    for j in range(times):
        sources = [keyed_generator("held out", key, j) for key in keys]
        when = torch.cat([(j + torch.rand(1, generator=source)) / times for source in sources])
        noise = torch.stack([torch.randn(frames, channels, generator=source) for source in sources])
        yield Draws(when, noise, torch.zeros(len(keys), frames, dtype=torch.bool))
