"""Every random draw of a training run, keyed by what it is for.

Nothing here keeps a state: a draw is a function of its key (seed, purpose, step or item). A resumed run
therefore sees the draws of the uninterrupted one, and an item's draws do not depend on which process trains
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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


def step_draws(*, seed: int, step: int, batch: int, frames: int, channels: int) -> Draws:
    """The draws of training step `step`: `batch` items of `frames` latent frames (even) of `channels` values.

    Context is a prefix of 1 to half of the code frames, on `CONTEXT_SHARE` of the items.
    """
    times = stratified_times(batch, keyed_generator(seed, "times", step))
    context = torch.zeros(batch, frames, dtype=torch.bool)
    noise = torch.empty(batch, frames, channels)
    for row in range(batch):
        source = keyed_generator(seed, "item", step * batch + row)
        noise[row] = torch.randn(frames, channels, generator=source)
        chance, length = torch.rand(2, generator=source).tolist()
        half = frames // 4
        if half and chance < CONTEXT_SHARE:
            context[row, : 2 * (1 + int(length * half))] = True
    return Draws(times, noise, context)


def fixed_draws(key: str, targets: Tensor, *, times: int) -> Iterator[Draws]:
    """`times` passes over targets `[B, L, C]`, the same in every run of every seed: no context, noise by item
    and pass.

    Pass `j` has item `i` in part `(i + j) mod times` of [0, 1), so every item meets every part once.
    """
    items, frames, _ = targets.shape
    for j in range(times):
        source = keyed_generator("held out", key, j)
        part = (torch.arange(items) + j) % times
        when = (part + torch.rand(items, generator=source)) / times
        noise = torch.randn(targets.shape, generator=source)
        yield Draws(when, noise, torch.zeros(items, frames, dtype=torch.bool))
