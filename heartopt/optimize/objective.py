"""Flow-matching inversion of one window: the decoder's training loss as a function of the codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.codec.flow import FlowMatching

# No time is drawn closer than this to the ends: at t = 0 there is no signal, at t = 1 no noise.
TIME_MARGIN = 1e-3


@dataclass(frozen=True)
class WindowTarget:
    """What one window is fitted to.

    ``latents`` ``[L, C]``: the song's latents, filled as the decoder fills a short window.
    ``fixed`` ``[W, d]``: summed code vectors of frames that are not to change (context and filling).
    ``free`` ``[W]`` int64: for each frame of the window the row of ``e`` that it takes, or −1 for ``fixed``.
    ``context`` ``[L]``: latents that the decoder is given. ``frames`` ``[L]``: latents that exist in the song.
    """

    latents: Tensor
    fixed: Tensor
    free: Tensor
    context: Tensor
    frames: Tensor


def straight_through(flow: FlowMatching, e: Tensor) -> tuple[Tensor, Tensor]:
    """``e`` ``[F, d]`` -> its quantized vectors with the gradient of the identity (arXiv 1308.3432), and without."""
    quantized = flow.quantize(e[None]).vectors[0]
    return e + (quantized - e).detach(), quantized


def draw_times(draws: int, generator: torch.Generator) -> Tensor:
    """Stratified times ``[draws]``: one uniform draw in each of ``draws`` equal parts of [0, 1]."""
    times = (torch.arange(draws) + torch.rand(draws, generator=generator)) / draws
    return times.clamp(TIME_MARGIN, 1 - TIME_MARGIN)


def draw_noise(draws: int, length: int, width: int, generator: torch.Generator) -> Tensor:
    """Antithetic noise ``[draws, length, width]``: each draw is followed by its negative."""
    half = torch.randn(-(-draws // 2), length, width, generator=generator)
    return torch.stack((half, -half), dim=1).flatten(0, 1)[:draws]


def window_loss(
    flow: FlowMatching, target: WindowTarget, e: Tensor, *, draws: int, commitment: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The loss of pre-quantization vectors ``e`` ``[F, d]`` for a window, and the flow term alone (both scalar).

    E over t and x₀ of ‖v(x_t, context, mu(Q(e))) − (z − (1 − σ) x₀)‖² + β ‖e − sg Q(e)‖², Q straight-through:
    conditional flow matching (arXiv 2210.02747) with the condition as the unknown.
    """
    passed, quantized = straight_through(flow, e)
    vectors = torch.where((target.free >= 0)[:, None], passed[target.free.clamp(min=0)], target.fixed)
    mu = flow.condition_from(vectors[None])
    length, width = target.latents.shape
    device = target.latents.device
    # Which noise meets which time is shuffled, so that antithetic pairs do not always sit on neighbouring times.
    times = draw_times(draws, generator)[torch.randperm(draws, generator=generator)].to(device)
    per_draw = flow.flow_loss(
        target.latents.expand(draws, -1, -1),
        mu.expand(draws, -1, -1),
        times=times,
        noise=draw_noise(draws, length, width, generator).to(device),
        context=target.context.expand(draws, -1),
        frames=target.frames.expand(draws, -1),
    )
    flow_term = per_draw.mean()
    return flow_term + commitment * (e - quantized).square().mean(), flow_term.detach()
