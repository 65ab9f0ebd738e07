"""Beam search over the residual levels: codes whose sum lies nearer to a vector than the greedy choice's."""

from __future__ import annotations

import torch
from torch import Tensor

from heartopt.codec.quantizer import code_vectors, nearest_codes
from heartopt.errors import ConfigError

MOST_DISTANCES = 2**24  # float32 values at once: 64 MB


@torch.no_grad()
def beam_codes(codebooks: Tensor, e: Tensor, *, width: int, metric: Tensor | None = None) -> Tensor:
    """Pre-quantization vectors ``e`` ``[F, d]`` -> codes ``[K, F]`` int64 of low Σ_i m_i (e_i − Σ_k c_k,i)².

    Beam search over the residual levels (arXiv 2509.19186): each level extends every kept partial sum by every code,
    and the ``width`` nearest sums a frame go on. No frame ends with more error than greedily (``width`` 1), which
    is `nearest_codes` where there is no ``metric``.

    Args:
        codebooks: ``[K, V, d]``.
        width: partial sums kept a frame; time grows with it, memory does not.
        metric: weights m ≥ 0, ``[d]`` or ``[F, d]``; default: all 1.

    Raises:
        ConfigError: a width below 1, or weights that are negative or of another shape.
    """
    if width < 1:
        raise ConfigError(f"width is {width}: give at least 1")
    if metric is not None and (tuple(metric.shape) not in {(e.shape[-1],), tuple(e.shape)} or not (metric >= 0).all()):
        raise ConfigError(
            f"metric of shape {list(metric.shape)}: give weights of 0 or more, [{e.shape[-1]}] or {list(e.shape)}"
        )
    codebooks, e = codebooks.float(), e.float()
    weights = (e.new_ones(e.shape[-1]) if metric is None else metric.to(e)).expand_as(e)
    chunk = max(1, MOST_DISTANCES // (width * codebooks.shape[1]))
    parts = []
    for vectors, weight in zip(e.split(chunk), weights.split(chunk), strict=True):
        if metric is None:
            # The same function as everywhere, not only the same formula: equal distances are resolved alike.
            codes = nearest_codes(codebooks, vectors[None]).codes[0]
        else:
            codes = _search(codebooks, vectors, weight, width=1)
        if width > 1:
            # The greedy path may leave the beam half-way and yet end nearer.
            wide = _search(codebooks, vectors, weight, width=width)
            nearer = _error(codebooks, wide, vectors, weight) < _error(codebooks, codes, vectors, weight)
            codes = torch.where(nearer, wide, codes)
        parts.append(codes)
    return torch.cat(parts, dim=-1)


def _search(codebooks: Tensor, e: Tensor, weights: Tensor, *, width: int) -> Tensor:
    """Codes ``[K, n]`` of the best of ``width`` paths for ``e`` and ``weights``, both ``[n, d]``."""
    row = torch.arange(e.shape[0], device=e.device)[:, None]
    left = e[:, None]  # what each path leaves: [n, paths, d]
    paths = row.new_empty(e.shape[0], 1, 0)  # [n, paths, levels so far]
    weights = weights[:, None]
    for codebook in codebooks:
        size = codebook.shape[0]
        # Σ m (r − c)² as Σ m r² − 2 Σ m r c + Σ m c². Taken from the residual each time, not summed up over the
        # levels: late errors are far smaller than early ones.
        distance = (weights * left) @ codebook.T
        distance.mul_(-2).add_(weights @ codebook.square().T).add_((weights * left.square()).sum(-1, keepdim=True))
        distance = distance.flatten(1)
        best = distance.topk(min(width, distance.shape[1]), largest=False).indices
        parent, code = best // size, best % size
        left = left[row, parent] - codebook[code]
        paths = torch.cat((paths[row, parent], code[..., None]), dim=-1)
    nearest = (weights * left.square()).sum(-1).argmin(-1, keepdim=True)
    return paths[row, nearest][:, 0].T


def _error(codebooks: Tensor, codes: Tensor, e: Tensor, weights: Tensor) -> Tensor:
    """Weighted squared error ``[n]`` of codes ``[K, n]``."""
    return (weights * (e - code_vectors(codebooks, codes[None]).sum(1)[0]).square()).sum(-1)
