"""Reading one song: what the cache has of it, and the audio from which the rest is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from heartopt.audio import AudioFile, FoundFile
from heartopt.codec import HeartCodec
from heartopt.codec.encoding import Stretch, source_frames
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import AudioError
from heartopt.files import sha256_of
from heartopt.training.cache import AudioEntry, LatentCache, LatentFile, TokenSpan
from heartopt.training.encodings import Encoding, Needs, UnsuitableSong, read_stretches
from heartopt.training.teacher import load_teacher, teacher_path

MIN_SECONDS = 1.0


@dataclass(frozen=True)
class Wanted:
    """What a run needs of every song, and where it is kept."""

    codec: HeartCodec
    cache: LatentCache
    encoding: Encoding
    needs: Needs

    @property
    def audio_kind(self) -> str:
        """Part of the name of audio entries."""
        return f"audio-{self.encoding.part}"


@dataclass(frozen=True)
class Known:
    """What the cache has of a song (`digest`: of its content) of which `frames` code frames are encoded.

    `missing` latents, and the audio where `listens`, are to be made from the stretches that follow. `channels`: of
    the song, 0 where nothing is to be made.
    """

    digest: str
    latents: dict[Encoding, LatentFile]
    missing: tuple[Encoding, ...]
    audio: AudioEntry | None
    tokens: TokenSpan | None
    frames: int
    listens: bool
    channels: int = 0


class Piece(NamedTuple):
    """The first of a song has no `stretch`; there are others only where something is to be made."""

    known: Known
    stretch: Stretch | None


def read_song(file: FoundFile, wanted: Wanted) -> Iterator[Piece]:
    """What is known of a song, then (where the cache lacks something) its audio piece by piece.

    Raises:
        HeartoptError: the file cannot be read.
        UnsuitableSong: too short, or the teacher has no tokens for it.
        AudioError: it cannot be decoded, or changes while it is read.
        TokenError, ConfigError: the teacher's tokens cannot be used (see `load_teacher`).
        OutputError: the teacher's tokens cannot be kept.
    """
    cache, needs = wanted.cache, wanted.needs
    before = _state(file.path)
    digest = sha256_of(file.path)
    encodings = tuple(dict.fromkeys([wanted.encoding, wanted.encoding.target]))
    latents = {one: entry for one in encodings if (entry := cache.find(digest, one.name))}
    teacher = None if needs.tokens is None else _teacher(needs.tokens, file)
    kind = None if teacher is None else f"tokens-{sha256_of(teacher)[:16]}-{wanted.encoding.part}"
    tokens = None if kind is None else cache.find_tokens(digest, kind)
    if len(latents) == len(encodings):
        known = _known(digest, latents, tokens, latents[wanted.encoding].frames // LATENTS_PER_CODE, wanted)
        if not known.missing and not known.listens and (teacher is None or known.tokens is not None):
            yield Piece(known, None)
            return
    with AudioFile(file.path) as source:
        if source.seconds < MIN_SECONDS:
            raise UnsuitableSong(f"{file.path}: too short ({source.seconds:.2f} s; songs need {MIN_SECONDS:g} s)")
        start, stop = wanted.encoding.frames(source, wanted.codec)
        if teacher is not None and kind is not None and (tokens is None or tokens.frames != stop - start):
            codes = load_teacher(teacher, codec=wanted.codec, frames=source_frames(wanted.codec, source))
            tokens = cache.store_tokens(digest, kind, codes[:, start:stop])
        known = _known(digest, latents, tokens, stop - start, wanted, channels=source.channels)
        yield Piece(known, None)
        if known.missing or known.listens:
            for stretch in read_stretches(source, wanted.codec, start, stop):
                yield Piece(known, stretch)
    if _state(file.path) != before:
        raise AudioError(f"{file.path}: changed while it was read; start again once it is whole")


def _known(
    digest: str,
    latents: dict[Encoding, LatentFile],
    tokens: TokenSpan | None,
    frames: int,
    wanted: Wanted,
    *,
    channels: int = 0,
) -> Known:
    """What of the entries is of `frames` code frames, and what else is wanted."""
    kept = {one: entry for one, entry in latents.items() if entry.frames == frames * LATENTS_PER_CODE}
    samples = frames * wanted.codec.samples_per_code
    audio = wanted.cache.find_audio(digest, wanted.audio_kind, samples) if wanted.needs.audio else None
    return Known(
        digest=digest,
        latents=kept,
        missing=tuple(one for one in dict.fromkeys([wanted.encoding, wanted.encoding.target]) if one not in kept),
        audio=audio,
        tokens=tokens if tokens is not None and tokens.frames == frames else None,
        frames=frames,
        listens=wanted.needs.audio and audio is None,
        channels=channels,
    )


def _teacher(folder: Path, file: FoundFile) -> Path:
    path = teacher_path(folder, file)
    if not path.is_file():
        raise UnsuitableSong(f"{file.path}: the teacher has no tokens for it ({path})")
    return path


def _state(path: Path) -> tuple[int, int]:
    """Changes when a file is written to."""
    try:
        stat = os.stat(path)
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
