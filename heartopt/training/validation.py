"""The held-out flow loss: the same songs, crops, times and noise in every run and for every seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch, Song, even_crops, read_crops
from heartopt.training.draws import Draws, fixed_draws
from heartopt.training.objectives import Terms, code_counts, flow_terms

#: Each crop is judged at this many times, one in each part of [0, 1).
PASSES = 8


@dataclass(frozen=True)
class ValidationRecord:
    """Held-out figures after `step` steps. `usage` and `perplexity`: of each level, over all held-out crops.
    `best`: the lowest flow loss so far.
    """

    step: int
    flow: float
    commitment: float
    usage: tuple[int, ...]
    perplexity: tuple[float, ...]
    best: bool
    kind: str = field(default="validation", init=False)


class HeldOut:
    """Held-out crops, read once, with draws that follow from what they are."""

    def __init__(self, songs: Sequence[Song], *, frames: int, count: int, batch_size: int) -> None:
        crops = even_crops(songs, frames=frames, count=count)
        self.batches: list[tuple[str, Batch]] = []
        for first in range(0, len(crops), batch_size):
            part = crops[first : first + batch_size]
            key = " ".join(f"{crop.song.digest}:{crop.start}" for crop in part)
            self.batches.append((key, read_crops(part, frames)))

    @torch.no_grad()
    def measure(self, codec: HeartCodec, terms: Callable[[Batch, Draws], Terms]) -> dict[str, Tensor]:
        """Means of `terms(batch, draws)` over crops and times; `counts` `[K, V]` of the codes (one pass)."""
        sums: dict[str, Tensor] = {}
        counts = torch.zeros(codec.config.num_quantizers, codec.config.codebook_size, dtype=torch.int64)
        items = 0
        device = codec.flow_matching.codebooks.device
        for key, batch in self.batches:
            on_device = batch.to(device)
            for index, draws in enumerate(fixed_draws(key, batch.targets, times=PASSES)):
                result = terms(on_device, draws.to(device))
                for name, value in result.terms.items():
                    sums[name] = sums.get(name, torch.zeros(())) + float(value) * len(batch.real)
                items += len(batch.real)
                if index == 0:
                    counts += code_counts(result.codes, result.real, codec.config.codebook_size).cpu()
        return {**{name: value / items for name, value in sums.items()}, "counts": counts}


def validate(
    projection: EncoderProjection, codec: HeartCodec, held_out: HeldOut, *, step: int, best_flow: float
) -> ValidationRecord:
    """The held-out figures of `projection` as it is; `best_flow` is the lowest flow loss before this one."""
    projection.eval()
    measured = held_out.measure(codec, lambda batch, draws: flow_terms(projection, codec, batch, draws))
    counts, flow = measured["counts"], float(measured["flow"])
    return ValidationRecord(
        step=step,
        flow=flow,
        commitment=float(measured["commitment"]),
        usage=tuple((counts > 0).sum(1).tolist()),
        perplexity=perplexity(counts),
        best=math.isfinite(flow) and flow < best_flow,
    )


def perplexity(counts: Tensor) -> tuple[float, ...]:
    """`exp` of the entropy of each level's codes, from counts `[K, V]`: V at most, 1 where one code does it
    all.
    """
    share = counts.double() / counts.sum(1, keepdim=True).clamp_min(1)
    return tuple(torch.special.entr(share).sum(1).exp().tolist())
