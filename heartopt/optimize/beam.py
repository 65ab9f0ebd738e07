"""Beam search over the residual levels: codes whose sum lies nearer to a vector than the greedy choice's."""

from __future__ import annotations

import torch
from torch import Tensor

from heartopt.codec.quantizer import code_vectors, nearest_codes
from heartopt.errors import ConfigError

MOST_DISTANCES = 2**24  # float32 values at once: 64 MB


@torch.no_grad()
def beam_codes(codebooks: Tensor, e: Tensor, *, width: int) -> Tensor:
    """Pre-quantization vectors ``e`` ``[F, d]`` -> codes ``[K, F]`` int64 of low ‖e − Σ_k c_k‖².

    Beam search over the residual levels (arXiv 2509.19186): each level extends every kept partial sum by every code,
    and the ``width`` nearest sums a frame go on. No frame ends with more error than greedily (``width`` 1:
    `nearest_codes`).

    Args:
        codebooks: ``[K, V, d]``.
        width: partial sums kept a frame; time grows with it, memory does not.

    Raises:
        ConfigError: a width below 1.
    """
    if width < 1:
        raise ConfigError(f"width is {width}: give at least 1")
    codebooks, e = codebooks.float(), e.float()
    chunk = max(1, MOST_DISTANCES // (width * codebooks.shape[1]))
    parts = []
    for vectors in e.split(chunk):
        # The same function as everywhere, not only the same formula: equal distances are resolved alike.
        codes = nearest_codes(codebooks, vectors[None]).codes[0]
        if width > 1:
            # The greedy path may leave the beam half-way and yet end nearer.
            wide = _search(codebooks, vectors, width=width)
            nearer = _error(codebooks, wide, vectors) < _error(codebooks, codes, vectors)
            codes = torch.where(nearer, wide, codes)
        parts.append(codes)
    return torch.cat(parts, dim=-1)


def _search(codebooks: Tensor, e: Tensor, *, width: int) -> Tensor:
    """Codes ``[K, n]`` of the best of ``width`` paths for ``e`` ``[n, d]``."""
    row = torch.arange(e.shape[0], device=e.device)[:, None]
    left = e[:, None]  # what each path leaves: [n, paths, d]
    paths = row.new_empty(e.shape[0], 1, 0)  # [n, paths, levels so far]
    for codebook in codebooks:
        size = codebook.shape[0]
        # ‖r − c‖² as ‖r‖² − 2 r·c + ‖c‖². Taken from the residual each time, not summed up over the
        # levels: late errors are far smaller than early ones.
        distance = left @ codebook.T
        distance.mul_(-2).add_(codebook.square().sum(-1)).add_(left.square().sum(-1, keepdim=True))
        distance = distance.flatten(1)
        best = distance.topk(min(width, distance.shape[1]), largest=False).indices
        parent, code = best // size, best % size
        left = left[row, parent] - codebook[code]
        paths = torch.cat((paths[row, parent], code[..., None]), dim=-1)
    nearest = left.square().sum(-1).argmin(-1, keepdim=True)
    return paths[row, nearest][:, 0].T


def _error(codebooks: Tensor, codes: Tensor, e: Tensor) -> Tensor:
    """Squared error ``[n]`` of codes ``[K, n]``."""
    return (e - code_vectors(codebooks, codes[None]).sum(1)[0]).square().sum(-1)
