"""The per-file optimization that the training report describes, as a yardstick for `optimize.py`.

What it does with a song of at most 30 s: one soft embedding `[F, d]` a level, begun at 0.1 · randn; their sum is
decoded in one piece by 8 Euler steps without guidance under one fixed noise and by the waveform decoder; the mono mix
of that is compared with the mono mix of the song (waveform MSE + 0.1 · MSE of STFT magnitudes + 0.001 · mean square of
the embeddings); Adam at 0.1 with a cosine, the gradient's norm clipped at 1. The step with the lowest loss (without the
mean square) is kept, and each level is rounded to its nearest code, what that leaves going to the next level.

`in_loop` rounds in every step instead, straight-through, the same way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.codec import HeartCodec
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import AudioError
from heartopt.seeding import keyed_generator

LONGEST = 30.0  # seconds
STEPS, LEARNING_RATE, CLIP = 300, 0.1, 1.0
SOLVER_STEPS = 8
FFT, HOP = 2048, 512
STFT_WEIGHT, MEAN_SQUARE_WEIGHT, START = 0.1, 0.001, 0.1


@dataclass(frozen=True)
class ReportStep:
    """A step from 1 on: the loss of its forward pass, without the mean square; the best so far as codes `[K, F]`.

    `wall`: seconds since the start, of the steps alone.
    """

    step: int
    loss: float
    codes: Tensor
    wall: float


def report_optimize(
    audio: Tensor, codec: HeartCodec, *, in_loop: bool = False, steps: int = STEPS, seed: int = 0
) -> Iterator[ReportStep]:
    """Optimize a song `[2, N]` at 48 kHz; yields every step.

    Raises:
        AudioError: it is longer than 30 s.
    """
    if audio.shape[-1] > LONGEST * codec.config.sample_rate:
        raise AudioError(f"{audio.shape[-1] / codec.config.sample_rate:.1f} s: the method takes at most {LONGEST:g} s")
    flow, generator = codec.flow_matching, keyed_generator(seed, "report")
    target = functional.pad(audio.mean(0), (0, -audio.shape[-1] % codec.samples_per_code))
    frames = target.shape[-1] // codec.samples_per_code
    window = torch.hann_window(FFT)
    magnitudes = _magnitudes(target, window)
    noise = torch.randn(1, frames * LATENTS_PER_CODE, codec.config.out_channels, generator=generator)
    levels, width = codec.config.num_quantizers, flow.codebooks.shape[-1]
    embeddings = (START * torch.randn(levels, frames, width, generator=generator)).requires_grad_(True)
    optimizer = torch.optim.Adam([embeddings], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    lowest, best, wall = float("inf"), embeddings.detach().clone(), 0.0
    for step in range(1, steps + 1):
        began = time.perf_counter()
        used = embeddings
        if in_loop:
            rounded = _vectors(flow.codebooks, round_levels(flow.codebooks, embeddings))
            used = embeddings + (rounded - embeddings).detach()
        mu = flow.condition_from(used.sum(0)[None])
        latents = flow.solve_euler(noise, mu, num_steps=SOLVER_STEPS, guidance_scale=1.0)
        decoded = codec.decode_latents(latents)[0].mean(0)
        loss = functional.mse_loss(decoded, target)
        loss = loss + STFT_WEIGHT * functional.mse_loss(_magnitudes(decoded, window), magnitudes)
        value = float(loss.detach())
        if value < lowest:
            lowest, best = value, embeddings.detach().clone()
        optimizer.zero_grad()
        (loss + MEAN_SQUARE_WEIGHT * embeddings.square().mean()).backward()
        torch.nn.utils.clip_grad_norm_([embeddings], CLIP)
        optimizer.step()
        schedule.step()
        wall += time.perf_counter() - began
        yield ReportStep(step, value, round_levels(flow.codebooks, best), wall)


@torch.no_grad()
def round_levels(codebooks: Tensor, embeddings: Tensor) -> Tensor:
    """One embedding a level `[K, F, d]` -> codes `[K, F]`: the nearest, its residual added to the next level's."""
    residual, codes = torch.zeros_like(embeddings[0]), []
    for codebook, embedding in zip(codebooks, embeddings, strict=True):
        wanted = embedding + residual
        nearest = torch.cdist(wanted, codebook).argmin(1)
        residual = wanted - codebook[nearest]
        codes.append(nearest)
    return torch.stack(codes)


def _vectors(codebooks: Tensor, codes: Tensor) -> Tensor:
    """Codes `[K, F]` -> each one's vector `[K, F, d]`."""
    return torch.stack([codebook[chosen] for codebook, chosen in zip(codebooks, codes, strict=True)])


def _magnitudes(audio: Tensor, window: Tensor) -> Tensor:
    spectrum: Tensor = torch.stft(audio, FFT, HOP, window=window, return_complex=True)
    return spectrum.abs()
