"""What is made of a song: latents of one kind or another, in pieces, and which part of the song they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from heartopt.audio import SAMPLE_RATE, AudioSource
from heartopt.codec import HeartCodec
from heartopt.codec.encoding import Stretch, encode_stretch, read_stretch, source_frames, stereo_latents
from heartopt.errors import AudioError
from heartopt.losses import SILENCE

#: Songs are read and encoded in pieces of this many code frames (30.72 s): memory does not grow with their length.
PIECE = 384


class UnsuitableSong(AudioError):
    """A song that can be read, but that nothing can be learnt from."""


@dataclass(frozen=True)
class Encoding:
    """What a projection reads: the latents of the channels' mean or of left | right, after or before the tanh.

    `max_seconds`: only that much of each song, from its middle; None is all of it.
    """

    mono: bool
    max_seconds: float | None = None
    pre_tanh: bool = False

    @property
    def part(self) -> str:
        """Which part of the song, as a word."""
        return "whole" if self.max_seconds is None else f"{self.max_seconds:g}s"

    @property
    def name(self) -> str:
        """Part of the cache entry's name."""
        return f"{'mean' if self.mono else 'stereo'}-{'pretanh' if self.pre_tanh else 'tanh'}-{self.part}"

    @property
    def target(self) -> Encoding:
        """What the decoder is trained towards: always stereo and after the tanh."""
        return Encoding(mono=False, max_seconds=self.max_seconds)

    def frames(self, source: AudioSource, codec: HeartCodec) -> tuple[int, int]:
        """The code frames `[start, stop)` of the song that are encoded: its own frames, all or the middle ones."""
        total = source_frames(codec, source)
        if self.max_seconds is None or self.max_seconds * SAMPLE_RATE >= source.num_samples:
            return 0, total
        wanted = round(self.max_seconds * SAMPLE_RATE) // codec.samples_per_code
        start = middle_start(source.num_samples, wanted * codec.samples_per_code, codec)
        return start, start + wanted


def middle_start(samples: int, covered: int, codec: HeartCodec) -> int:
    """The code frame at which the middle `covered` of a song's `samples` begin."""
    return (samples - covered) // 2 // codec.samples_per_code


@dataclass(frozen=True)
class Needs:
    """What objectives want beside latents: the songs' audio; a folder with a teacher's `NAME.tokens.npy` for each."""

    audio: bool = False
    tokens: Path | None = None


#: The flow objective needs no more than latents.
LATENTS_ONLY = Needs()


def read_stretches(source: AudioSource, codec: HeartCodec, start: int, stop: int) -> Iterator[Stretch]:
    """Code frames `[start, stop)` piece by piece, each with the encoder's whole receptive field before it."""
    for first in range(start, stop, PIECE):
        yield read_stretch(codec, source, first, min(stop, first + PIECE))


@torch.no_grad()
def encode_stretches(
    stretches: Iterable[Stretch], codec: HeartCodec, encodings: Sequence[Encoding]
) -> dict[Encoding, Tensor]:
    """Each encoding's latents `[L, C]` of one song, equal to those of encoding it in one piece.

    Raises:
        UnsuitableSong: silent.
        AudioError: latents that are not finite.
    """
    pieces: dict[Encoding, list[Tensor]] = {encoding: [] for encoding in encodings}
    peak = 0.0
    for stretch in stretches:
        peak = max(peak, float(stretch.own.abs().max()))
        with parametrize.cached():  # weight norm once a piece, not once a chunk
            for encoding in encodings:
                latents = encode_stretch(codec, stretch, mixdown=encoding.mono, pre_tanh=encoding.pre_tanh)
                pieces[encoding].append((latents[0] if encoding.mono else stereo_latents(latents)).cpu())
    if peak < SILENCE:
        raise UnsuitableSong("silent: no sample is above -80 dB")
    made = {encoding: torch.cat(parts) for encoding, parts in pieces.items()}
    if not all(bool(torch.isfinite(latents.half()).all()) for latents in made.values()):  # as they are kept
        raise AudioError("the codec gives latents that are not finite")
    return made
