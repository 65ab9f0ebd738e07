"""Named loss terms, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.errors import ConfigError


@dataclass(frozen=True)
class Terms:
    """`terms`: the loss' parts by name, each a float32 scalar, unweighted: the mean over items of one value each, so
    that the mean over equal parts of a batch is that of the whole. `codes` `[B, K, F]`, `real` `[B, F]`: see `Choice`.
    """

    terms: dict[str, Tensor]
    codes: Tensor
    real: Tensor


def item_means(values: Tensor, real: Tensor) -> Tensor:
    """The mean of `values` `[B, F]` over each item's own frames, where `real` `[B, F]`: `[B]`."""
    counted = real.to(values.dtype)
    return (values * counted).sum(1) / counted.sum(1).clamp_min(1)


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
