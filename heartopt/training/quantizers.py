"""Residual quantizers that let a gradient through, for training: straight-through, and Gumbel-softmax over near codes.

Distances are measured in units of each level's own spread: a squared distance over twice the variance (of one
coordinate) of that level's code vectors. Code vectors shrink by a factor of ten and more from the first level to the
last; so scaled, one temperature means about the same on each. At temperature 1 the probabilities are those of Gaussians
around the codes, as wide as the codebook.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.codec.quantizer import code_vectors, nearest_codes
from heartopt.training.settings import Quantize

#: The dither at the end of a run, as a share of that at its start.
LAST_DITHER = 0.1
#: A code that is used less than this share of an even use is pressed for.
RARE = 0.25
_FLOOR = 1e-10


@dataclass(frozen=True)
class Passed:
    """What a quantizer lets through.

    `vectors` `[B, F, d]`: differentiable, with the value of the summed code vectors; `codes` `[B, K, F]` int64;
    `commitment` `[B, F]`: the mean over levels and coordinates of the squared distance between what a level was given
    and the code vector it chose (no gradient reaches the code); `entropy_lack` `[B]`: see `lack_of_entropy`, where the
    quantizer has probabilities.
    """

    vectors: Tensor
    codes: Tensor
    commitment: Tensor
    entropy_lack: Tensor | None = None


def level_variance(codebooks: Tensor) -> Tensor:
    """The variance of one coordinate of each level's code vectors `[K, V, d]`, mean over coordinates: `[K]`."""
    return codebooks.float().var(1, unbiased=False).mean(-1).clamp_min(_FLOOR)


def dither_scale(quantize: Quantize, progress: float, codebooks: Tensor) -> Tensor:
    """Standard deviation of the dither on one coordinate, `[]`, at `progress` (0 to 1) of a run.

    `quantize.dither` times the standard deviation of the sum of one code of each level; it falls linearly to a tenth.
    """
    start = quantize.dither * level_variance(codebooks).sum().sqrt()
    return start * (1 - (1 - LAST_DITHER) * progress)


def temperature(quantize: Quantize, progress: float) -> float:
    """The temperature at `progress` (0 to 1) of a run: from start to end by equal factors."""
    start, end = quantize.temperature
    return float(start * (end / start) ** progress)


def commitment(e: Tensor, levels: Tensor) -> Tensor:
    """`e` `[B, F, d]` and the code vectors that each level chose `[B, K, F, d]` -> `Passed.commitment` `[B, F]`.

    What level k was given less what it chose is `e` less the sum of the first k vectors.
    """
    return (e[:, None] - levels.detach().cumsum(1)).square().mean((1, 3))


def straight_through(codebooks: Tensor, e: Tensor, dither: Tensor | None = None) -> Passed:
    """The nearest codes of `e` `[B, F, d]` (plus `dither`), with the gradient of the identity (arXiv 1308.3432).

    Against the dither the projection learns to leave some room around its codes.
    """
    given = e if dither is None else e + dither
    quantized = nearest_codes(codebooks, given.detach())
    levels = code_vectors(codebooks, quantized.codes)
    return Passed(e + (quantized.vectors - e).detach(), quantized.codes, commitment(given, levels))


def revival_bonus(usage: Tensor, revival: float) -> Tensor:
    """What is added to the log-probabilities of rarely used codes: counts `[K, V]` -> `[K, V]`, from 0 to `revival`.

    A code that is never used gets all of `revival`, one with `RARE` of an even share none, linearly in between: the
    odds of a code are multiplied by at most `e^revival`, whatever the temperature. The codebooks are frozen, so only
    codes near some frame can come back.
    """
    share = usage / usage.sum(1, keepdim=True).clamp_min(_FLOOR) * usage.shape[1]
    return revival * (1 - share / RARE).clamp(0, 1)


def gumbel(
    codebooks: Tensor,
    e: Tensor,
    *,
    top_k: int,
    temperature: float,
    noise: Tensor | None = None,
    bonus: Tensor | None = None,
    dither: Tensor | None = None,
    real: Tensor | None = None,
) -> Passed:
    """A draw among the `top_k` nearest codes of `e` `[B, F, d]` on each level; the gradient is that of a softmax.

    The codes are `argmax((−distance / temperature + bonus + noise) / temperature)`, and the gradient of their vectors
    is that of the mean over the softmax of the same (Gumbel-softmax, straight-through: Jang et al., arXiv 1611.01144).
    As the temperature falls, the draws approach the nearest code too, not only the softmax its maximum (Yang et al.
    2020, arXiv 2006.04240).

    Args:
        noise: standard Gumbel `[B, K, F, k]`, k = `top_k` or the number of codes; none: the most probable code.
        bonus: `[K, V]`, added to the log-probabilities (`revival_bonus`).
        dither: `[B, F, d]`, added before quantization.
        real: `[B, F]`, True on frames that count for the entropy; all, if not given.
    """
    items, frames, width = e.shape
    given = e if dither is None else e + dither
    residual = given.reshape(-1, width)
    size = codebooks.shape[1]
    near_count = min(top_k, size)
    rows = torch.arange(len(residual), device=e.device)
    weight = torch.ones(items, frames, device=e.device) if real is None else real.float()
    vectors = torch.zeros_like(residual)
    codes, levels, lacks = [], [], []
    for k, (codebook, variance) in enumerate(zip(codebooks, level_variance(codebooks), strict=True)):
        with torch.no_grad():
            distance = codebook.square().sum(-1).addmm(residual, codebook.T, alpha=-2)
            nearest = distance.topk(near_count, largest=False).indices
        near = codebook[nearest]
        # −‖r − c‖² without −‖r‖², which is the same for every code.
        logits = 2 * (near @ residual[..., None])[..., 0] - near.square().sum(-1)
        logits = logits / (2 * variance * temperature)
        if bonus is not None:
            logits = logits + bonus[k][nearest]
        lacks.append(lack_of_entropy(logits.softmax(-1), nearest, weight, size))
        drawn = logits if noise is None else logits + noise[:, k].reshape(-1, near_count)
        soft = (drawn / temperature).softmax(-1)
        best = drawn.argmax(-1)
        chosen = near[rows, best]
        mean = (soft[:, None] @ near)[:, 0]
        vectors = vectors + chosen + (mean - mean.detach())
        residual = residual - chosen
        codes.append(nearest[rows, best].view(items, frames))
        levels.append(chosen.view(items, frames, width))
    return Passed(
        vectors.view_as(e),
        torch.stack(codes, 1),
        commitment(given, torch.stack(levels, 1)),
        torch.stack(lacks).mean(0),
    )


def lack_of_entropy(probabilities: Tensor, codes: Tensor, weight: Tensor, size: int) -> Tensor:
    """How far each item is from using all codes of a level alike: `[B]`, 0 (it does) to 1 (a single code).

    `1 − H / log V`, with H the entropy of the item's mean probabilities. `probabilities` and the `codes` that they
    belong to: `[B · F, k]`; `weight` `[B, F]`: 1 on frames that count; `size`: V.
    """
    items = len(weight)
    share = weight / weight.sum(1, keepdim=True).clamp_min(1)
    weighted = probabilities.reshape(items, -1, probabilities.shape[-1]) * share[..., None]
    mean = torch.zeros(items, size, device=probabilities.device, dtype=probabilities.dtype)
    mean = mean.scatter_add(1, codes.reshape(items, -1), weighted.flatten(1))
    entropy = -(mean * (mean + _FLOOR).log()).sum(1)
    return 1 - entropy / math.log(size)
