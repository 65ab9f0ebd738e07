"""A song to tokens through an encoder projection, in pieces, so that memory does not grow with the song."""

from __future__ import annotations

import torch
from torch import Tensor

from heartopt.audio import AudioSource, AudioTensor
from heartopt.codec.encoding import encode_span, source_frames, stereo_latents
from heartopt.codec.model import HeartCodec
from heartopt.errors import AudioError
from heartopt.projection.files import check_fits
from heartopt.projection.network import EncoderProjection

CHUNK_FRAMES = 372
# More than `linear` and `query` look to either side (four layers that each reach four code frames). The group norms
# of `conv1d` see all frames of a chunk, which is why no chunk but that of a short song is shorter than the others.
MARGIN_FRAMES = 24


def span_latents(
    codec: HeartCodec, source: AudioSource, projection: EncoderProjection, start: int, stop: int
) -> Tensor:
    """What the projection takes for code frames ``[start, stop)``: ``[2 · (stop − start), latent_dim]``."""
    mono = projection.latent_dim == codec.config.latent_hidden_dim
    latents = encode_span(codec, source, start, stop, mixdown=mono, pre_tanh=projection.latents == "pre_tanh")
    return latents[0] if mono else stereo_latents(latents)


@torch.no_grad()
def tokenize_source(source: AudioSource, codec: HeartCodec, projection: EncoderProjection) -> Tensor:
    """A song -> its tokens ``[K, F]`` int64, F = ceil(12.5 · seconds).

    Raises:
        CheckpointError: the projection's widths are not the codec's.
        AudioError: the source cannot be read.
    """
    check_fits(projection, codec)
    frames = source_frames(codec, source)
    pieces = []
    for start in range(0, frames, CHUNK_FRAMES):
        stop = min(start + CHUNK_FRAMES, frames)
        end = min(stop + MARGIN_FRAMES, frames)
        begin = max(min(start - MARGIN_FRAMES, end - CHUNK_FRAMES), 0)
        latents = span_latents(codec, source, projection, begin, end)
        features = projection.project(latents[None].to(projection.device))[:, start - begin : stop - begin]
        e = codec.flow_matching.project_in(features.to(latents.device))
        pieces.append(codec.flow_matching.quantize(e).codes[0])
    return torch.cat(pieces, dim=-1)


def encode_with_projection(audio: Tensor, codec: HeartCodec, projection: EncoderProjection) -> Tensor:
    """Audio ``[B, N]`` or ``[B, 2, N]`` at 48 kHz -> tokens ``[B, K, F]`` int64.

    Raises:
        AudioError: another shape.
        CheckpointError: the projection's widths are not the codec's.
    """
    if audio.ndim not in (2, 3) or audio.shape[-1] == 0 or (audio.ndim == 3 and audio.shape[1] not in (1, 2)):
        raise AudioError(f"audio of shape {list(audio.shape)}: give [B, N] or [B, 2, N] at 48 kHz")
    items = audio[:, None] if audio.ndim == 2 else audio
    return torch.stack([tokenize_source(AudioTensor(item), codec, projection) for item in items])
