"""The stretches of held-out songs that a run is listened to on: which ones, and what their files are called."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.codec import HeartCodec
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import AudioError, HeartoptError, OutputError
from heartopt.files import sha256_of
from heartopt.projection import EncoderProjection
from heartopt.projection.tokenizing import CHUNK_FRAMES, MARGIN_FRAMES
from heartopt.seeding import keyed_generator
from heartopt.training.crops import Song
from heartopt.training.encodings import middle_start

_log = logging.getLogger(__name__)  # below the logger that `training.log` is written from

#: More are not listened to, and would take longer than they tell.
MOST_CLIPS = 8
#: Bytes of a clip's name, so that no file system refuses the files that begin with it.
_NAME_BYTES = 100
_NAME_SIGNS = " -_.()"


@dataclass(frozen=True)
class Clip:
    """`frames` code frames of a held-out song, kept in memory.

    `inputs` `[L, C]`: what the projection reads, the clip's neighbourhood included; `first`: the clip's first code
    frame in it. `original` `[1 | 2, N]`: the song's own audio, N ≤ frames · 3840 (less where the song ends inside the
    last frame). `key`: the song and the place, from which the decoder's noise follows.
    """

    name: str
    key: str
    inputs: Tensor
    first: int
    frames: int
    original: Tensor

    def noise(self) -> torch.Generator:
        """The generator of the decoder's noise: the same in every epoch, every run and under every seed."""
        return keyed_generator("clip", self.key)

    def codes(self, projection: EncoderProjection, codec: HeartCodec) -> Tensor:
        """The codes that `projection`, as it is, chooses for the clip: `[K, frames]`. Raises HeartoptError."""
        features = projection.project(self.inputs[None].to(projection.device))
        features = features[:, self.first : self.first + self.frames]
        e = codec.flow_matching.project_in(features.to(codec.flow_matching.codebooks.device, torch.float32))
        if not bool(torch.isfinite(e).all()):  # the nearest codes would be some codes all the same
            raise HeartoptError("the projection gives values that are not finite; train with a lower --lr")
        return codec.flow_matching.quantize(e).codes[0]


def read_clips(songs: Sequence[Song], codec: HeartCodec, count: int) -> list[Clip]:
    """One clip each of at most `count` (and `MOST_CLIPS`) songs, evenly spread over `songs`.

    A song whose own audio cannot be had any more is left out with a warning: what the codec makes of its latents is
    not what it sounded like.

    Raises:
        OutputError: cached latents cannot be read.
    """
    count = min(count, MOST_CLIPS, len(songs))
    chosen = [songs[(2 * k + 1) * len(songs) // (2 * count)] for k in range(count)]
    clips = []
    for song, name in zip(chosen, file_names([song.name for song in chosen]), strict=True):
        try:
            clips.append(read_clip(song, codec, name))
        except OutputError:
            raise
        except HeartoptError as error:
            _log.warning("%s: no clip of this held-out song is judged: %s", song.name, error)
    return clips


def read_clip(song: Song, codec: HeartCodec, name: str) -> Clip:
    """The middle of `song`, at most one of the decoder's windows, from one of the song's own code frames on.

    The projection reads what `tokenize` would let it read around these frames: `MARGIN_FRAMES` to either side and
    no less than `CHUNK_FRAMES` in all, as far as the song goes. So `linear` and `query` choose exactly the codes that
    they choose for the whole song.

    Raises:
        AudioError: the song cannot be read, or is not any more what was encoded.
        HeartoptError: the song is not there any more.
        OutputError: its cached latents cannot be read.
    """
    if sha256_of(song.path) != song.digest:
        raise AudioError(f"{song.path}: has changed since it was encoded; start again with --resume auto")
    total = song.frames // LATENTS_PER_CODE
    frames = min(total, codec.window_plan().codes)
    start = (total - frames) // 2
    end = min(start + frames + MARGIN_FRAMES, total)
    begin = max(min(start - MARGIN_FRAMES, end - CHUNK_FRAMES), 0)
    with AudioFile(song.path) as file:
        first, last = encoded_span(file.num_samples, song.frames, codec)
        first += start * codec.samples_per_code
        original = file.read(first, min(first + frames * codec.samples_per_code, last))
    inputs = song.inputs.read(begin * LATENTS_PER_CODE, end * LATENTS_PER_CODE)
    return Clip(name, f"{song.digest}:{start}", inputs, start - begin, frames, original)


def encoded_span(samples: int, frames: int, codec: HeartCodec) -> tuple[int, int]:
    """Which samples of a song of `samples` its `frames` cached latent frames are of: all, or (where the run takes only
    a part of each song) as many as the frames last, from the middle, from a code frame on.
    """
    covered = frames * codec.hop
    if covered >= samples:
        return 0, samples
    start = middle_start(samples, covered, codec) * codec.samples_per_code
    return start, start + covered


def file_names(songs: Sequence[str]) -> list[str]:
    """A file name without suffix for each song name (a relative path): flat, harmless, and unique without case."""
    names: list[str] = []
    taken: set[str] = set()
    for song in songs:
        plain = name = _plain(song)
        count = 1
        while name.casefold() in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _plain(song: str) -> str:
    """Letters (with their marks), digits and `_NAME_SIGNS`, all else as `_`; not hidden, not an option, not long."""
    text = unicodedata.normalize("NFC", os.path.splitext(song)[0])
    kept = "".join(sign if sign in _NAME_SIGNS or unicodedata.category(sign)[0] in "LMN" else "_" for sign in text)
    short = kept.lstrip(" .-").encode()[:_NAME_BYTES].decode(errors="ignore")
    return short.rstrip(" .") or "clip"
