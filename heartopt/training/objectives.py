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
class Terms:
    """`terms`: the objective's parts by name, each a scalar; `codes` `[B, K, F]`: what the projection chose;
    `real` `[B, F]` bool: which code frames are the song's own.
    """

    terms: dict[str, Tensor]
    codes: Tensor
    real: Tensor


def flow_terms(projection: EncoderProjection, codec: HeartCodec, batch: Batch, draws: Draws) -> Terms:
    """The frozen decoder's own flow-matching loss on the projection's codes (paper, Eq. 3), and the
    commitment.

    With `e = project_in(projection(inputs))` and its greedy residual codes `Q(e)`: the straight-through
    vectors `q = e + sg(Q(e) − e)` are the decoder's condition, so the gradient of `flow` reaches `e` as if it
    were `Q(e)`, and `commitment = ‖e − sg Q(e)‖²` (mean over real frames) keeps that honest. Every tensor
    float32.
    """
    flow = codec.flow_matching
    e = flow.project_in(projection.project(batch.inputs))
    quantized = flow.quantize(e.detach())
    condition = flow.condition_from(e + (quantized.vectors - e).detach())
    loss = flow.flow_loss(
        batch.targets,
        condition,
        times=draws.times,
        noise=draws.noise,
        context=draws.context,
        frames=batch.real,
    )
    real = batch.real[:, ::LATENTS_PER_CODE]
    distance = functional.mse_loss(e, quantized.vectors, reduction="none").mean(-1)
    return Terms({"flow": loss.mean(), "commitment": distance[real].mean()}, quantized.codes, real)


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
