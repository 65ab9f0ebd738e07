"""The residual VQ: the release's module from vector-quantize-pytorch, and its greedy search on 32-wide vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from vector_quantize_pytorch import ResidualVQ

from heartopt.codec.config import HeartCodecConfig


@dataclass(frozen=True)
class Quantized:
    """``vectors`` ``[B, F, d]``: the summed code vectors; ``codes`` ``[B, K, F]`` int64."""

    vectors: Tensor
    codes: Tensor


def build_residual_vq(config: HeartCodecConfig) -> ResidualVQ:
    """The quantizer exactly as the release builds it, so that its tensors load by name."""
    # Never on the meta device: the library keeps constants of its own in buffers that no checkpoint holds.
    with torch.device("cpu"):
        return ResidualVQ(
            dim=config.dim,
            codebook_size=config.codebook_size,
            decay=config.decay,
            commitment_weight=config.commitment_weight,
            threshold_ema_dead_code=config.threshold_ema_dead_code,
            use_cosine_sim=config.use_cosine_sim,
            codebook_dim=config.codebook_dim,
            num_quantizers=config.num_quantizers,
        )


def code_vectors(codebooks: Tensor, codes: Tensor) -> Tensor:
    """Codebooks ``[K, V, d]``, codes ``[B, K, F]`` -> each level's code vectors ``[B, K, F, d]``."""
    level = torch.arange(codebooks.shape[0], device=codes.device)[None, :, None]
    return codebooks[level, codes]


def nearest_codes(codebooks: Tensor, e: Tensor) -> Quantized:
    """Greedy residual quantization of ``e`` ``[B, F, d]``: each level takes the code nearest to what is left.

    The same choice as ``ResidualVQ`` in eval mode makes after ``project_in`` (Algorithm 1 of SoundStream,
    arXiv 2107.03312); without gradient.
    """
    with torch.no_grad():
        residual = e.reshape(-1, e.shape[-1]).float()
        levels = []
        for codebook in codebooks.float():
            # ‖r − c‖² without ‖r‖², which is the same for every code.
            distance = (codebook.square().sum(-1)).addmm(residual, codebook.T, alpha=-2)
            index = distance.argmin(-1)
            residual = residual - codebook[index]
            levels.append(index)
        codes = torch.stack(levels).reshape(len(levels), *e.shape[:-1]).transpose(0, 1)
        vectors = code_vectors(codebooks, codes).sum(1)
    return Quantized(vectors=vectors, codes=codes)
