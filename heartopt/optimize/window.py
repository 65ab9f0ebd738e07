"""One window: what it is fitted to, and the choice between start and result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from heartopt.audio import AudioSource
from heartopt.codec.encoding import encode_span, stereo_latents
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.codec.model import HeartCodec
from heartopt.codec.windows import Window
from heartopt.losses import stft_loss
from heartopt.optimize.beam import beam_codes
from heartopt.optimize.memory import in_parts
from heartopt.optimize.objective import WindowTarget, listen
from heartopt.optimize.settings import OptimizeSettings
from heartopt.seeding import keyed_generator


@dataclass(frozen=True)
class Choice:
    """The kept codes of a window, and what led to the choice.

    ``codes`` ``[K, F]`` of the whole song; ``scores``: mean STFT loss of each candidate under the selection seeds, the
    start first; ``kept``: the number of the kept one; ``past`` ``[S, P, C]``: the end of its latents, context of the
    next window under each seed.
    """

    codes: Tensor
    scores: tuple[float, ...]
    kept: int
    past: Tensor


@torch.inference_mode(mode=False)
def window_target(codec: HeartCodec, source: AudioSource, window: Window, codes: Tensor) -> WindowTarget:
    """What a window of a song with codes ``[K, F]`` is fitted to; reads only the window's audio."""
    frames = codes.shape[-1]
    positions = window.positions(frames)
    wanted = torch.arange(window.start + window.context, window.start + window.real)
    free = torch.where((positions >= wanted[0]) & (positions <= wanted[-1]), positions - wanted[0], -1)
    latents = stereo_latents(encode_span(codec, source, window.start, window.start + window.real))
    if window.real < window.codes:
        latents = torch.cat((latents, _filling(codec, source, window, frames)))
    index = torch.arange(window.codes * LATENTS_PER_CODE)
    device = latents.device
    offset = window.start * codec.samples_per_code
    first, last = window.context * codec.samples_per_code, window.real * codec.samples_per_code
    audio = source.read(offset + first, min(offset + last, source.num_samples))
    return WindowTarget(
        latents=latents,
        audio=audio.to(device).expand(2, -1),
        fixed=codec.flow_matching.code_sum(codes[None, :, positions.to(codes.device)])[0],
        free=free.to(device),
        context=(index < window.context * LATENTS_PER_CODE).to(device),
        frames=(index < window.real * LATENTS_PER_CODE).to(device),
    )


def _filling(codec: HeartCodec, source: AudioSource, window: Window, frames: int) -> Tensor:
    """Latents of the frames that fill a short window: the song again from its beginning."""
    missing = window.codes - window.real
    head = stereo_latents(encode_span(codec, source, 0, min(missing, frames)))
    repeats = -(-missing * LATENTS_PER_CODE // head.shape[0])
    return head.repeat(repeats, 1)[: missing * LATENTS_PER_CODE]


def blend_shares(settings: OptimizeSettings) -> tuple[float, ...]:
    """Which shares of the way from the first vectors to the fitted ones become candidates.

    The gradient is noisy: where the whole way from good tokens goes too far, a part of it may still be better. From
    elsewhere the first vectors are no place to stay near.
    """
    return (0.5, 1.0) if settings.start == "tokens" else (1.0,)


@torch.inference_mode(mode=False)
def blends(
    codec: HeartCodec, codes: Tensor, frames: slice, start: Tensor, fitted: Tensor, settings: OptimizeSettings
) -> list[Tensor]:
    """Whole-song codes ``[K, F]`` with ``frames`` quantized from points on the way from ``start`` to ``fitted``.

    Both ``[f, d]``; the points are those of `blend_shares`.
    """
    candidates = []
    for share in blend_shares(settings):
        blended = codes.clone()
        point = torch.lerp(start, fitted, share)
        blended[:, frames] = beam_codes(codec.flow_matching.codebooks, point, width=settings.beam)
        candidates.append(blended)
    return candidates


@torch.inference_mode(mode=False)
@torch.no_grad()
def choose(
    codec: HeartCodec,
    target: WindowTarget,
    window: Window,
    *,
    candidates: list[Tensor],
    past: Tensor | None,
    overlap: int,
    settings: OptimizeSettings,
) -> Choice:
    """Decode a window with each of the whole-song codes ``[K, F]``; keep the lowest mean STFT loss.

    All candidates meet the same noise, that of the selection seeds. The first one is the start: a tie keeps it.
    ``past`` ``[S, P, C]``: the kept end of the window before, under each seed; ``overlap``: code frames that the next
    window shares with this one.
    """
    seeds, length, count = settings.select_seeds, window.codes * LATENTS_PER_CODE, len(candidates)
    generators = [keyed_generator(settings.seed, "select", number, window.index) for number in range(seeds)]
    noise = torch.stack([torch.randn(length, codec.config.out_channels, generator=drawn) for drawn in generators])

    def decode(candidate: Tensor, part: Tensor) -> Tensor:
        """Latents ``[s, L, C]`` under the seeds ``part`` ``[s]``."""
        return codec.window_latents(
            candidate.expand(len(part), -1, -1),
            window,
            noise=noise[part],
            context=None if past is None else past[part.to(past.device)],
            num_steps=settings.num_steps,
            guidance_scale=settings.guidance_scale,
        )

    latents = torch.cat([in_parts(partial(decode, candidate), torch.arange(seeds)) for candidate in candidates])
    piece = settings.ode.piece_seconds
    losses = [stft_loss(listen(codec, item[None], target, piece_seconds=piece), target.audio) for item in latents]
    scores = torch.stack(losses).unflatten(0, (count, seeds)).mean(1).tolist()
    kept = scores.index(min(scores))
    tail = (window.codes - overlap) * LATENTS_PER_CODE
    return Choice(
        codes=candidates[kept],
        scores=tuple(scores),
        kept=kept,
        past=latents.unflatten(0, (count, seeds))[kept][:, tail:],
    )
