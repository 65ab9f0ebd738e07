"""What a projection makes of a batch before any objective looks at it: features, vectors and codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.draws import QuantizerNoise
from heartopt.training.quantizers import Passed, dither_scale, gumbel, revival_bonus, straight_through, temperature
from heartopt.training.settings import Quantize


@dataclass(frozen=True)
class Choice:
    """The projection's `features` `[B, F, D]` and pre-quantization vectors `e` `[B, F, d]`, both float32, and what the
    quantizer made of them: see `Passed`. `real` `[B, F]` bool: which code frames are the song's own.
    """

    features: Tensor
    e: Tensor
    vectors: Tensor
    codes: Tensor
    commitment: Tensor
    entropy_lack: Tensor | None
    real: Tensor


def choose(
    projection: EncoderProjection,
    codec: HeartCodec,
    batch: Batch,
    *,
    quantize: Quantize | None = None,
    progress: float = 0.0,
    noise: QuantizerNoise | None = None,
    usage: Tensor | None = None,
) -> Choice:
    """The projection's codes for `batch`, and what is differentiable about them.

    Args:
        quantize: the quantizer of training; none: the nearest codes, as for use, straight through.
        progress: of the run, 0 to 1; temperature and dither follow it.
        noise: of the quantizer; none: no dither and no Gumbel noise.
        usage: counts `[K, V]` that the pressure on rarely used codes goes by.
    """
    flow = codec.flow_matching
    real = batch.real[:, ::LATENTS_PER_CODE]
    # Half precision cannot tell the last levels' code vectors apart, and the projection chooses codes in float32 later.
    with torch.autocast(batch.inputs.device.type, enabled=False):
        features = projection.project(batch.inputs.float()).float()
        e = flow.project_in(features)
        passed = _quantized(flow.codebooks.float(), e, real, quantize or Quantize(), progress, noise, usage)
    return Choice(features, e, passed.vectors, passed.codes, passed.commitment, passed.entropy_lack, real)


def _quantized(
    codebooks: Tensor,
    e: Tensor,
    real: Tensor,
    quantize: Quantize,
    progress: float,
    noise: QuantizerNoise | None,
    usage: Tensor | None,
) -> Passed:
    levels, size, width = codebooks.shape
    frames = e.shape[1]
    dither = None
    if quantize.dither and noise is not None:
        dither = noise.dither(frames, width).to(e.device) * dither_scale(quantize, progress, codebooks)
    if quantize.kind == "straight-through":
        return straight_through(codebooks, e, dither)
    near = min(quantize.top_k, size)
    return gumbel(
        codebooks,
        e,
        top_k=near,
        temperature=temperature(quantize, progress),
        noise=None if noise is None else noise.gumbel(levels, frames, near).to(e.device),
        bonus=revival_bonus(usage.to(e.device), quantize.revival) if usage is not None and quantize.revival else None,
        dither=dither,
        real=real,
    )
