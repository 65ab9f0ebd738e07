"""`ode`: through a few steps of the real decoder to audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heartopt.codec import HeartCodec
from heartopt.codec.flow import FlowMatching
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws
from heartopt.training.objectives.listening import listening_terms


def ode_terms(
    codec: HeartCodec, batch: Batch, condition: Tensor, draws: Draws, weights: Mapping[str, float], *, steps: int
) -> dict[str, Tensor]:
    """Audio losses of what the decoder makes of `condition` `[B, L, D]` in `steps` Euler steps."""
    assert draws.ode_noise is not None
    latents = solve(codec.flow_matching, draws.ode_noise, condition, steps)
    return listening_terms(
        lambda own: codec.decode_latents(own)[0], latents, batch, weights, hop=codec.hop, recompute=True
    )


def solve(flow: FlowMatching, noise: Tensor, condition: Tensor, steps: int) -> Tensor:
    """Noise `[B, L, C]` -> latents `[B, L, C]`: `FlowMatching.solve_euler` without guidance and context, in the memory
    of one step. Each step's inner values are computed again on the way back.
    """
    known = torch.zeros_like(noise)

    def velocity(x: Tensor, mu: Tensor, time: float) -> Tensor:
        times = torch.full((len(x),), time, device=x.device)
        return cast(Tensor, flow.estimator(torch.cat((x, known, mu.to(x.dtype)), dim=-1), timestep=times)).float()

    x = noise
    for step in range(steps):
        x = x + checkpoint(velocity, x, condition, step / steps, use_reentrant=False) / steps
    return x
