"""The held-out flow loss: the same songs, crops, times and noise in every run and for every seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch, Song, even_crops, read_crops
from heartopt.training.draws import fixed_draws
from heartopt.training.objectives import choose, code_counts, flow_losses

#: Each crop is judged at this many times, one in each part of [0, 1).
PASSES = 8


@dataclass(frozen=True)
class ValidationRecord:
    """Held-out figures after `step` steps. `usage` and `perplexity`: of each level, over all held-out crops.
    `best`: the lowest flow loss so far.
    """

    step: int
    epoch: float
    flow: float
    commitment: float
    usage: tuple[int, ...]
    perplexity: tuple[float, ...]
    best: bool
    kind: str = field(default="validation", init=False)


@dataclass(frozen=True)
class Measured:
    """`flow`: mean over crops and times; `commitment`: mean over real frames; `counts` `[K, V]`: of the codes."""

    flow: float
    commitment: float
    counts: Tensor


class HeldOut:
    """Held-out crops, read once, each with draws that follow from what it is; `batch_size` changes no figure.

    No songs are no crops: a process that does not judge has none.
    """

    def __init__(self, songs: Sequence[Song], *, frames: int, count: int, batch_size: int) -> None:
        crops = even_crops(songs, frames=frames, count=count)
        self.batches: list[tuple[list[str], Batch]] = []
        for first in range(0, len(crops), batch_size):
            part = crops[first : first + batch_size]
            keys = [f"{crop.song.digest}:{crop.start}" for crop in part]
            self.batches.append((keys, read_crops(part, frames)))

    @torch.no_grad()
    def measure(self, projection: EncoderProjection, codec: HeartCodec) -> Measured:
        """`projection`'s figures; its codes are chosen once a batch and judged in `PASSES` passes."""
        device = codec.flow_matching.codebooks.device
        counts = torch.zeros(codec.config.num_quantizers, codec.config.codebook_size, dtype=torch.int64)
        flow = distance = 0.0
        losses = frames = 0
        for keys, on_host in self.batches:
            batch = on_host.to(device)
            choice = choose(projection, codec, batch)
            condition = codec.flow_matching.condition_from(choice.vectors)
            counts += code_counts(choice.codes, choice.real, codec.config.codebook_size).cpu()
            distance += float(choice.commitment[choice.real].cpu().double().sum())
            frames += int(choice.real.sum())
            _, length, channels = batch.targets.shape
            for draws in fixed_draws(keys, frames=length, channels=channels, times=PASSES):
                flow += float(flow_losses(codec, batch, condition, draws.to(device)).cpu().double().sum())
                losses += len(keys)
        return Measured(flow / losses, distance / frames, counts)


def validate(
    projection: EncoderProjection, codec: HeartCodec, held_out: HeldOut, *, step: int, epoch: float, best_flow: float
) -> ValidationRecord:
    """The held-out figures of `projection` as it is; `best_flow` is the lowest flow loss before this one."""
    projection.eval()
    measured = held_out.measure(projection, codec)
    return ValidationRecord(
        step=step,
        epoch=epoch,
        flow=measured.flow,
        commitment=measured.commitment,
        usage=tuple((measured.counts > 0).sum(1).tolist()),
        perplexity=perplexity(measured.counts),
        best=math.isfinite(measured.flow) and measured.flow < best_flow,
    )


def perplexity(counts: Tensor) -> tuple[float, ...]:
    """`exp` of the entropy of each level's codes, from counts `[K, V]`: V at most, 1 where one code does it
    all.
    """
    share = counts.double() / counts.sum(1, keepdim=True).clamp_min(1)
    return tuple(torch.special.entr(share).sum(1).exp().tolist())
