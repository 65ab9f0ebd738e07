"""`ode`: through a few steps of the real decoder to audio."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.codec.solver import solve
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws
from heartopt.training.objectives.listening import listening_terms


def ode_terms(
    codec: HeartCodec, batch: Batch, condition: Tensor, draws: Draws, weights: Mapping[str, float], *, steps: int
) -> dict[str, Tensor]:
    """Audio losses of what the decoder makes of `condition` `[B, L, D]` in `steps` Euler steps."""
    assert draws.ode_noise is not None
    noise = draws.ode_noise
    latents = solve(
        codec.flow_matching,
        noise,
        condition,
        known=torch.zeros_like(noise),
        context=torch.zeros(noise.shape[:2], dtype=torch.bool, device=noise.device),
        num_steps=steps,
        guidance_scale=1.0,
        picks=torch.empty(len(noise), 0),  # the gradient goes through everything, in the memory of one step
        checkpointing=True,
    )
    return listening_terms(
        lambda own: codec.decode_latents(own)[0], latents, batch, weights, hop=codec.hop, recompute=True
    )
