"""From noise to latents with a gradient that costs little."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heartopt.codec.flow import SIGMA_MIN, FlowMatching


def draw_picks(gradient_steps: int, solver_steps: int, generator: torch.Generator) -> Tensor:
    """The solver steps ``[m]`` that a gradient goes through: one in each of m equal parts; all, for m = 0, in order."""
    if not gradient_steps:
        return torch.arange(0)
    places = (torch.arange(gradient_steps) + torch.rand(gradient_steps, generator=generator)) / gradient_steps
    return (places * solver_steps).long().clamp(max=solver_steps - 1)


def solve(
    flow: FlowMatching,
    noise: Tensor,
    mu: Tensor,
    *,
    known: Tensor,
    context: Tensor,
    num_steps: int,
    guidance_scale: float,
    picks: Tensor,
    checkpointing: bool = False,
) -> Tensor:
    """`FlowMatching.decode` of noise ``[B, L, C]`` under the condition ``mu`` ``[B, L, D]``; differentiable in ``mu``.

    Args:
        known: latents ``[B, L, C]`` of the frames that are ``context`` ``[B, L]``, zero elsewhere.
        picks: solver steps ``[B, m]``. The sum over all steps of how each one's velocity answers to ``mu``, with the
            place ``x`` of the noise held still, is estimated from these; ``x`` moves with ``mu`` too, but the gradient
            through that is small beside its cost: it would keep every step's inner values, and twice for the guidance.
            With m = 0 the gradient goes through everything, as the training report's does.
        checkpointing: compute a step's inner values again on the way back, one step at a time.
    """
    scale, held = max(guidance_scale, 1.0), context[..., None]

    def put(x: Tensor, step: int) -> Tensor:
        """``x`` with its known frames on their path."""
        t = step / num_steps
        return torch.where(held, (1 - (1 - SIGMA_MIN) * t) * noise + t * known, x)

    def advance(x: Tensor, mu: Tensor, step: int) -> Tensor:
        x = put(x, step)
        return x + flow.guided_velocity(x, known, mu, step / num_steps, guidance_scale) / num_steps

    def velocity(x: Tensor, mu: Tensor, steps: Tensor) -> Tensor:
        inputs = torch.cat((x, known, mu.to(x.dtype)), dim=-1)
        moved: Tensor = flow.estimator(inputs, timestep=(steps / num_steps).to(x.device))
        return moved.float()

    x = noise
    if not picks.shape[1]:
        for step in range(num_steps):
            x = checkpoint(advance, x, mu, step, use_reentrant=False) if checkpointing else advance(x, mu, step)
    else:
        places = []
        with torch.no_grad():
            for step in range(num_steps):
                places.append(put(x, step))
                x = advance(x, mu, step)
        path, item = torch.stack(places), torch.arange(len(noise), device=noise.device)
        moved = []
        for pick in picks.unbind(1):
            at = path[pick.to(noise.device), item]
            moved.append(
                checkpoint(velocity, at, mu, pick, use_reentrant=False) if checkpointing else velocity(at, mu, pick)
            )
        answer = scale * torch.stack(moved).mean(0)
        x = x + (answer - answer.detach())
    return torch.where(held, known, x)
