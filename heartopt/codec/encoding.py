"""Latents of a stretch of a song, read from it as needed, so that memory does not grow with the song."""

from __future__ import annotations

import torch
from torch import Tensor

from heartopt.audio import AudioSource
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.codec.model import HeartCodec


def source_frames(codec: HeartCodec, source: AudioSource) -> int:
    """Code frames of a song: its samples over 3840, rounded up (F)."""
    return -(-source.num_samples // codec.samples_per_code)


def encode_span(
    codec: HeartCodec, source: AudioSource, start: int, stop: int, *, mixdown: bool = False, pre_tanh: bool = False
) -> Tensor:
    """Latents of code frames ``[start, stop)``: ``[C, 2 · (stop − start), 128]``, as if the whole song were encoded.

    ``mixdown`` encodes the mean of the channels (C = 1). Beyond the song's end there is silence.
    """
    per_code = LATENTS_PER_CODE
    past = -(-codec.scalar_model.encoder_context // per_code)
    begin = max(start - past, 0)
    audio = source.read(begin * codec.samples_per_code, min(stop * codec.samples_per_code, source.num_samples))
    missing = (stop - begin) * codec.samples_per_code - audio.shape[-1]
    audio = torch.nn.functional.pad(audio, (0, missing))
    if mixdown:
        audio = audio.mean(0, keepdim=True)
    latents = codec.encode_channels(audio[None], pre_tanh=pre_tanh)[0]
    return latents[:, (start - begin) * per_code :]


def stereo_latents(latents: Tensor) -> Tensor:
    """Channel latents ``[1 | 2, L, 128]`` -> left | right ``[L, 256]``; one channel fills both."""
    both = latents.expand(2, -1, -1)
    return both.transpose(0, 1).flatten(1)
