"""What the flow objective draws at random: times, noise and context, keyed by what they are for.

Nothing here keeps a state: a draw is a function of its key (seed, purpose, step or item). A resumed run
therefore sees the draws of the uninterrupted one, and an item's draws do not depend on which process trains
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.seeding import keyed_generator

#: The share of items that get context frames, as in the decoder's own training.
CONTEXT_SHARE = 0.4


@dataclass(frozen=True)
class Draws:
    """What one pass of the flow objective needs at random, for a batch of `B` items of `L` latent frames.

    `times` `[B]` in [0, 1); `noise` `[B, L, C]`, standard normal; `context` `[B, L]` bool, True on frames
    given to the decoder as known.
    """

    times: Tensor
    noise: Tensor
    context: Tensor

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on `device`."""
        return Draws(self.times.to(device), self.noise.to(device), self.context.to(device))


def stratified_times(count: int, source: torch.Generator) -> Tensor:
    """`[count]` times, one in each of `count` equal parts of [0, 1), in random order: less variance than free
    draws.
    """
    return (torch.randperm(count, generator=source) + torch.rand(count, generator=source)) / count


def step_draws(*, seed: int, step: int, real: Tensor, channels: int) -> Draws:
    """The draws of training step `step`, for items whose own latent frames are `real` `[B, L]` bool (a prefix, even).

    Context is a prefix of 1 to half of an item's own code frames, on `CONTEXT_SHARE` of the items: frames that only
    fill the crop are not counted, so the other half is left to learn from.
    """
    batch, frames = real.shape
    times = stratified_times(batch, keyed_generator(seed, "times", step))
    context = torch.zeros(batch, frames, dtype=torch.bool)
    noise = torch.empty(batch, frames, channels)
    for row, own in enumerate(real.sum(1).tolist()):
        source = keyed_generator(seed, "item", step * batch + row)
        noise[row] = torch.randn(frames, channels, generator=source)
        chance, length = torch.rand(2, generator=source).tolist()
        half = own // LATENTS_PER_CODE // 2
        if half and chance < CONTEXT_SHARE:
            context[row, : LATENTS_PER_CODE * (1 + int(length * half))] = True
    return Draws(times, noise, context)


def fixed_draws(keys: Sequence[str], *, frames: int, channels: int, times: int) -> Iterator[Draws]:
    """`times` passes over one item a key, `frames` latent frames of `channels` values each; no context.

    An item's draws follow from its key and the pass alone: the same in every run, and whatever else is in the batch.
    Pass `j` is in part `j` of `times` equal parts of [0, 1), so every item meets every part once.
    """
    for j in range(times):
        sources = [keyed_generator("held out", key, j) for key in keys]
        when = torch.cat([(j + torch.rand(1, generator=source)) / times for source in sources])
        noise = torch.stack([torch.randn(frames, channels, generator=source) for source in sources])
        yield Draws(when, noise, torch.zeros(len(keys), frames, dtype=torch.bool))
