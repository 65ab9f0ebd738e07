"""`distill`: choose the codes that a teacher chose, such as the official encoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from heartopt.codec.quantizer import code_vectors
from heartopt.training.objectives.terms import item_means
from heartopt.training.quantizers import level_variance

#: In units of each level's spread (see `heartopt.training.quantizers`): the codes as Gaussians as wide as the codebook.
TEMPERATURE = 1.0


def distill_losses(
    codebooks: Tensor, e: Tensor, teacher: Tensor, real: Tensor, *, temperature: float = TEMPERATURE
) -> Tensor:
    """The cross-entropy of the teacher's codes `[B, K, F]` under `e` `[B, F, d]`, of each item: `[B]`.

    On level k a code's probability is the softmax of `−‖r − c‖² / (2 · variance · temperature)` over all codes c of
    the level. The residual is teacher-forced: `r = e − Σ_{j<k} c_j` with the teacher's codes c_j, so an early mistake
    does not make nonsense of the later levels. Mean over levels and over real frames (`real` `[B, F]`).
    """
    with torch.autocast(e.device.type, enabled=False):
        codebooks, e = codebooks.float(), e.float()
        vectors = code_vectors(codebooks, teacher)
        before = vectors.cumsum(1) - vectors
        sharpness = 1 / (2 * level_variance(codebooks) * temperature)
        losses = torch.zeros(e.shape[:2], device=e.device)
        for k, codebook in enumerate(codebooks):
            # The logits of all codes are computed again on the way back: eight levels of them fill gigabytes.
            level = checkpoint(
                _level_losses, e - before[:, k], codebook, teacher[:, k], sharpness[k], use_reentrant=False
            )
            losses = losses + level
    return item_means(losses / len(codebooks), real)


def _level_losses(residual: Tensor, codebook: Tensor, teacher: Tensor, sharpness: Tensor) -> Tensor:
    """`residual` `[B, F, d]`, `codebook` `[V, d]`, `teacher` `[B, F]` -> cross-entropy `[B, F]`."""
    # −‖r − c‖² without −‖r‖², which is the same for every code.
    logits = (2 * residual @ codebook.T - codebook.square().sum(-1)) * sharpness
    return functional.cross_entropy(logits.flatten(0, 1), teacher.flatten(), reduction="none").view_as(teacher)
