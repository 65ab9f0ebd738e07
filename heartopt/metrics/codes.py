"""Statistics of codes, level by level. They describe; quality is what the decoded audio says.

Random codes use every entry: high usage or perplexity is no sign of quality by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.errors import TokenError


@dataclass(frozen=True)
class CodeStatistics:
    """Per level, `K` numbers each.

    Attributes:
        used: distinct codes.
        usage: distinct codes over the codebook's size, 0 to 1.
        perplexity: exp of the entropy of the codes' frequencies, 1 to min(F, V).
    """

    used: tuple[int, ...]
    usage: tuple[float, ...]
    perplexity: tuple[float, ...]

    def metrics(self) -> dict[str, float]:
        """`usage` and `perplexity`: means over levels, then `usage_1`, `perplexity_1`, … level by level."""
        levels = len(self.used)
        result = {"usage": sum(self.usage) / levels, "perplexity": sum(self.perplexity) / levels}
        for level in range(levels):
            result[f"usage_{level + 1}"] = self.usage[level]
            result[f"perplexity_{level + 1}"] = self.perplexity[level]
        return result


def code_statistics(codes: Tensor, codebook_size: int) -> CodeStatistics:
    """Statistics of codes `[K, F]` (integers in [0, codebook_size)). Raises TokenError for anything else."""
    if codes.dim() != 2 or codes.numel() == 0 or codes.is_floating_point():
        given = f"{list(codes.shape)} {codes.dtype}"
        raise TokenError(f"codes must be integers [K, F] with at least one frame, got {given}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= codebook_size:
        raise TokenError(f"codes from {low} to {high} are outside 0..{codebook_size - 1}")
    codes = codes.cpu().long()
    counts = torch.zeros(codes.shape[0], codebook_size, dtype=torch.float64)
    counts.scatter_add_(1, codes, torch.ones_like(codes, dtype=torch.float64))
    used = (counts > 0).sum(dim=1)
    entropy = torch.special.entr(counts / codes.shape[1]).sum(dim=1)
    return CodeStatistics(
        used=tuple(int(n) for n in used),
        usage=tuple(float(n) / codebook_size for n in used),
        perplexity=tuple(float(p) for p in entropy.exp()),
    )
