"""Latents of a stretch of a song, read from it as needed, so that memory does not grow with the song."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.audio import AudioSource
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.codec.model import HeartCodec


@dataclass(frozen=True)
class Stretch:
    """The audio that the latents of some code frames depend on.

    ``audio [C, N]`` at 48 kHz begins ``past`` samples before the first of these frames (the encoder's receptive field,
    as far as there is any) and ends with the last of them, with silence beyond the song's end.
    """

    audio: Tensor
    past: int

    @property
    def own(self) -> Tensor:
        """The audio of the code frames themselves."""
        return self.audio[:, self.past :]


def source_frames(codec: HeartCodec, source: AudioSource) -> int:
    """Code frames of a song: its samples over 3840, rounded up (F)."""
    return -(-source.num_samples // codec.samples_per_code)


def read_stretch(codec: HeartCodec, source: AudioSource, start: int, stop: int) -> Stretch:
    """What code frames ``[start, stop)`` depend on. Raises AudioError."""
    past = -(-codec.scalar_model.encoder_context // LATENTS_PER_CODE)
    begin = max(start - past, 0)
    audio = source.read(begin * codec.samples_per_code, min(stop * codec.samples_per_code, source.num_samples))
    missing = (stop - begin) * codec.samples_per_code - audio.shape[-1]
    return Stretch(torch.nn.functional.pad(audio, (0, missing)), (start - begin) * codec.samples_per_code)


def encode_stretch(codec: HeartCodec, stretch: Stretch, *, mixdown: bool = False, pre_tanh: bool = False) -> Tensor:
    """The latents of a stretch's own frames: ``[C, L, 128]``, as if the whole song were encoded.

    ``mixdown`` encodes the mean of the channels (C = 1).
    """
    audio = stretch.audio.mean(0, keepdim=True) if mixdown else stretch.audio
    return codec.encode_channels(audio[None], pre_tanh=pre_tanh)[0][:, stretch.past // codec.hop :]


def encode_span(
    codec: HeartCodec, source: AudioSource, start: int, stop: int, *, mixdown: bool = False, pre_tanh: bool = False
) -> Tensor:
    """Latents of code frames ``[start, stop)``: ``[C, 2 · (stop − start), 128]``, as if the whole song were encoded.

    ``mixdown`` encodes the mean of the channels (C = 1). Beyond the song's end there is silence.
    """
    return encode_stretch(codec, read_stretch(codec, source, start, stop), mixdown=mixdown, pre_tanh=pre_tanh)


def stereo_latents(latents: Tensor) -> Tensor:
    """Channel latents ``[1 | 2, L, 128]`` -> left | right ``[L, 256]``; one channel fills both."""
    both = latents.expand(2, -1, -1)
    return both.transpose(0, 1).flatten(1)
