"""What a projection is trained on.

An objective gives named terms, `[]` each; a dict of weights with the same names makes the loss of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.codec import HeartCodec
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import ConfigError
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws


@dataclass(frozen=True)
class Choice:
    """What a projection makes of a batch, whatever is drawn after that.

    `condition` `[B, L, D]`: what the decoder is given, straight through to the projection; `distance` `[B, F]`: the
    squared distance (mean over the code vectors' width) of each code frame to its code vectors; `codes` `[B, K, F]`:
    what was chosen; `real` `[B, F]` bool: which code frames are the song's own.
    """

    condition: Tensor
    distance: Tensor
    codes: Tensor
    real: Tensor

    @property
    def commitment(self) -> Tensor:
        """The mean distance over real frames, `[]`."""
        return self.distance[self.real].mean()


@dataclass(frozen=True)
class Terms:
    """`terms`: the objective's parts by name, each a scalar; `codes` and `real`: as in `Choice`."""

    terms: dict[str, Tensor]
    codes: Tensor
    real: Tensor


def choose(projection: EncoderProjection, codec: HeartCodec, batch: Batch) -> Choice:
    """The projection's codes for `batch`, and what is differentiable about them.

    With `e = project_in(projection(inputs))` and its greedy residual codes `Q(e)`: the straight-through vectors
    `q = e + sg(Q(e) − e)` make the condition, so a gradient reaches `e` as if it were `Q(e)`.
    """
    flow = codec.flow_matching
    e = flow.project_in(projection.project(batch.inputs))
    quantized = flow.quantize(e.detach())
    condition = flow.condition_from(e + (quantized.vectors - e).detach())
    distance = functional.mse_loss(e, quantized.vectors, reduction="none").mean(-1)
    return Choice(condition, distance, quantized.codes, batch.real[:, ::LATENTS_PER_CODE])


def flow_losses(codec: HeartCodec, batch: Batch, choice: Choice, draws: Draws) -> Tensor:
    """The frozen decoder's own flow-matching loss on `choice` (paper, Eq. 3), of each item: `[B]`."""
    return codec.flow_matching.flow_loss(
        batch.targets,
        choice.condition,
        times=draws.times,
        noise=draws.noise,
        context=draws.context,
        frames=batch.real,
    )


def flow_terms(projection: EncoderProjection, codec: HeartCodec, batch: Batch, draws: Draws) -> Terms:
    """`flow`: the mean of `flow_losses`; `commitment = ‖e − sg Q(e)‖²` (mean over real frames) keeps the
    straight-through gradient honest. Both are float32, whatever the decoder computes in.
    """
    choice = choose(projection, codec, batch)
    flow = flow_losses(codec, batch, choice, draws).mean()
    return Terms({"flow": flow, "commitment": choice.commitment}, choice.codes, choice.real)


def weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The loss `Σ weight · term`; a name that only one of the two has is an error."""
    if unmatched := sorted(set(terms) ^ set(weights)):
        raise ConfigError(f"loss terms and weights do not match: {', '.join(unmatched)}")
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def code_counts(codes: Tensor, real: Tensor, codebook_size: int) -> Tensor:
    """How often each code was chosen: `[K, V]` int64, over the frames of `codes` `[B, K, F]` where `real`
    `[B, F]`.
    """
    levels = codes.transpose(1, 2)[real].T
    counts = torch.zeros(codes.shape[1], codebook_size, dtype=torch.int64, device=codes.device)
    return counts.scatter_add_(1, levels, torch.ones_like(levels))
