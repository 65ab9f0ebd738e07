"""From latents to sound, piece by piece, with a gradient: memory is that of one piece."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from heartopt.codec.model import HeartCodec


def decode_pieces(codec: HeartCodec, latents: Tensor, first: int, last: int, piece: int) -> Tensor:
    """Latents ``[1, L, C]`` -> the audio ``[1, 2, (last − first) · hop]`` of frames ``[first, last)``; differentiable.

    As `HeartCodec.decode_latents` of all L. Each ``piece`` frames are decoded with the frames around them that they
    depend on: the waveform decoder is causal, but for two frames ahead.
    """
    if last - first <= piece:
        return _decode(codec, latents, first, last)
    audio: Tensor = _Pieces.apply(latents, codec, first, last, piece)
    return audio


def _decode(codec: HeartCodec, latents: Tensor, first: int, last: int) -> Tensor:
    """Frames ``[first, last)`` in one piece."""
    begin = max(first - codec.scalar_model.decoder_context, 0)
    end = min(last + codec.scalar_model.decoder_lookahead, latents.shape[1])
    audio = codec.decode_latents(latents[:, begin:end])
    return audio[..., (first - begin) * codec.hop : (last - begin) * codec.hop]


class _Pieces(torch.autograd.Function):
    """Forward without gradient; backward decodes each piece again. The losses see all of the sound at once."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, codec: HeartCodec, first: int, last: int, piece: int) -> Tensor:
        ctx.save_for_backward(latents)
        ctx.codec, ctx.spans = codec, [(begin, min(begin + piece, last)) for begin in range(first, last, piece)]
        return torch.cat([_decode(codec, latents, begin, end) for begin, end in ctx.spans], dim=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (latents,) = ctx.saved_tensors
        total, done = torch.zeros_like(latents), 0
        for begin, end in ctx.spans:
            samples = (end - begin) * ctx.codec.hop
            with torch.enable_grad():
                own = latents.detach().requires_grad_(True)
                audio = _decode(ctx.codec, own, begin, end)
                total += torch.autograd.grad(audio, own, gradient[..., done : done + samples])[0]
            done += samples
        return total, None, None, None, None
