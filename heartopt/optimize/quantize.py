"""The quantizer in the loop: from vectors that a gradient moves to what the decoder is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heartopt.codec.flow import FlowMatching
from heartopt.optimize.settings import OptimizeSettings
from heartopt.training.quantizers import gumbel, level_variance

_TINY = 1e-20


def pass_through(
    flow: FlowMatching, e: Tensor, *, progress: float, settings: OptimizeSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``e`` ``[F, d]`` -> what the decoder is given instead, differentiable, and the nearest ``Q(e)`` without gradient.

    ``progress``: 0 to 1, of the phase; the temperature falls with it.
    """
    nearest = flow.quantize(e[None]).vectors[0]
    if settings.quantizer == "straight-through":
        return e + (nearest - e).detach(), nearest
    if settings.quantizer == "none":
        return e, nearest
    first, last = settings.temperature
    temperature = first * (last / first) ** progress
    if settings.quantizer == "soft":
        return soft_codes(flow.codebooks, e, top_k=settings.top_k, temperature=temperature), nearest
    levels, size = flow.codebooks.shape[:2]
    uniform = torch.rand(1, levels, len(e), min(settings.top_k, size), generator=generator).clamp_min(_TINY)
    noise = -(-uniform.log()).log()
    drawn = gumbel(
        flow.codebooks.float(), e[None], top_k=settings.top_k, temperature=temperature, noise=noise.to(e.device)
    )
    return drawn.vectors[0], nearest


def soft_codes(codebooks: Tensor, e: Tensor, *, top_k: int, temperature: float) -> Tensor:
    """``e`` ``[F, d]`` -> sums ``[F, d]`` of each level's softmax mean over its ``top_k`` nearest codes.

    Soft-to-hard vector quantization (arXiv 1704.00648), residually: a level is given what the means before it leave.
    Squared distances count in units of twice the level's variance, as in `heartopt.training.quantizers`.
    """
    residual = e
    for codebook, variance in zip(codebooks.float(), level_variance(codebooks), strict=True):
        distance = torch.cdist(residual.detach(), codebook)
        near = codebook[distance.topk(min(top_k, len(codebook)), largest=False).indices]
        logits = -(residual[:, None] - near).square().sum(-1) / (2 * variance * temperature)
        residual = residual - (logits.softmax(-1)[:, None] @ near)[:, 0]
    return e - residual


@torch.inference_mode(mode=False)
def first_vectors(flow: FlowMatching, tokens: Tensor, settings: OptimizeSettings, generator: torch.Generator) -> Tensor:
    """Where the search begins ``[F, d]``: at codes ``[K, F]``, at zero, or at random, as wide as codes' sums."""
    vectors = flow.code_sum(tokens[None])[0].float()
    if settings.start == "tokens":
        return vectors
    if settings.start == "zero":
        return torch.zeros_like(vectors)
    spread = math.sqrt(float(level_variance(flow.codebooks).sum()))
    return spread * torch.randn(vectors.shape, generator=generator).to(vectors.device)
