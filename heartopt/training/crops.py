"""Training crops: an endless, shuffled, evenly spread sequence, a function of (seed, item number)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from heartopt.errors import ConfigError
from heartopt.seeding import keyed_generator
from heartopt.training.entries import AudioEntry, LatentFile, TokenSpan


@dataclass(frozen=True)
class Song:
    """One song, encoded: `inputs` is what the projection reads, `targets` the stereo latents (the same file
    for 256).

    `audio` (frames · hop samples) and `tokens` (a teacher's) are of exactly the encoded part; None where no objective
    asked for them.
    """

    path: Path
    name: str
    digest: str
    inputs: LatentFile
    targets: LatentFile
    audio: AudioEntry | None = None
    tokens: TokenSpan | None = None

    @property
    def frames(self) -> int:
        """Latent frames, always even: two a code frame."""
        return self.targets.frames


@dataclass(frozen=True)
class Batch:
    """`inputs` `[B, L, C]`, `targets` `[B, L, 2·latents]`, `real` `[B, L]` bool: False where a short song was
    looped. Where the songs have them, looped alike: `audio` `[B, 2, L·hop]` float32, `tokens` `[B, K, L/2]` int64.
    """

    inputs: Tensor
    targets: Tensor
    real: Tensor
    audio: Tensor | None = None
    tokens: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return Batch(
            self.inputs.to(device),
            self.targets.to(device),
            self.real.to(device),
            None if self.audio is None else self.audio.to(device),
            None if self.tokens is None else self.tokens.to(device),
        )


@dataclass(frozen=True)
class Crop:
    """`frames` latent frames of `song` from latent frame `start` (even: the song's own code frames)."""

    song: Song
    start: int


def read_crops(crops: Sequence[Crop], frames: int) -> Batch:
    """`crops`, each `frames` latent frames; shorter songs are looped, as `detokenize` does.

    Audio and tokens are read where all the songs have them.

    Raises:
        OutputError: a cached entry cannot be read any more.
    """
    parts = [_Part(crop, min(frames, crop.song.frames - crop.start), frames) for crop in crops]
    inputs = torch.stack([part.latents(part.crop.song.inputs) for part in parts])
    same = all(crop.song.inputs == crop.song.targets for crop in crops)  # then it is read once
    return Batch(
        inputs=inputs,
        targets=inputs if same else torch.stack([part.latents(part.crop.song.targets) for part in parts]),
        real=torch.stack([torch.arange(frames) < part.length for part in parts]),
        audio=_stacked([part.audio() for part in parts]),
        tokens=_stacked([part.tokens() for part in parts]),
    )


@dataclass(frozen=True)
class _Part:
    """`length` latent frames of a song that fill `frames`."""

    crop: Crop
    length: int
    frames: int

    def latents(self, entry: LatentFile) -> Tensor:
        """`[frames, C]`"""
        return entry.read(self.crop.start, self.crop.start + self.length)[torch.arange(self.frames) % self.length]

    def audio(self) -> Tensor | None:
        """`[2, frames · hop]`"""
        entry = self.crop.song.audio
        if entry is None:
            return None
        hop = entry.samples // self.crop.song.frames
        own = entry.read(self.crop.start * hop, (self.crop.start + self.length) * hop)
        return _looped(own, self.frames * hop)

    def tokens(self) -> Tensor | None:
        """`[K, frames / 2]`"""
        entry = self.crop.song.tokens
        if entry is None:
            return None
        per_code = self.crop.song.frames // entry.frames
        own = entry.read(self.crop.start // per_code, (self.crop.start + self.length) // per_code)
        return _looped(own, self.frames // per_code)


def _looped(own: Tensor, length: int) -> Tensor:
    """`own [..., n]` again and again, up to `length`."""
    if own.shape[-1] == length:
        return own
    return own.repeat(1, -(-length // own.shape[-1]))[:, :length].contiguous()


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    there = [value for value in values if value is not None]
    return torch.stack(there) if len(there) == len(values) else None


class CropSequence:
    """Crops of `frames` latent frames, without end; an epoch shows every part of every song about once.

    A song of `n` crops' length is cut into `n` equal ranges of start positions; each epoch draws one start
    from each, and a new order. Item `i` is item `i mod N` of epoch `i // N`: no state, so any process can ask
    for any item.
    """

    def __init__(self, songs: Sequence[Song], *, frames: int, seed: int) -> None:
        if not songs:
            raise ConfigError("there are no songs to train on")
        if frames < 2 or frames % 2:
            raise ConfigError(f"crops need an even number of latent frames, at least 2; got {frames}")
        # One song without audio or tokens, and no batch has them: what a batch holds does not depend on its songs.
        if not all(song.audio for song in songs):
            songs = [replace(song, audio=None) for song in songs]
        if not all(song.tokens for song in songs):
            songs = [replace(song, tokens=None) for song in songs]
        self.frames = frames
        self.seed = seed
        self.slots = [
            (song, part, parts)
            for song in songs
            for parts in [max(1, round(song.frames / frames))]
            for part in range(parts)
        ]
        self._drawn: tuple[int, list[int], list[float]] = (-1, [], [])

    def __len__(self) -> int:
        """Items an epoch."""
        return len(self.slots)

    def __getitem__(self, item: int) -> Crop:
        epoch, position = divmod(item, len(self.slots))
        order, offsets = self._epoch(epoch)
        song, part, parts = self.slots[order[position]]
        choices = max(0, song.frames - self.frames) // 2 + 1
        return Crop(song, 2 * int((part + offsets[position]) / parts * choices))

    def _epoch(self, epoch: int) -> tuple[list[int], list[float]]:
        """The order of an epoch's slots and where in each to begin; the last asked for is kept (threads may ask)."""
        known, order, offsets = self._drawn
        if known != epoch:
            order = torch.randperm(len(self.slots), generator=keyed_generator(self.seed, "order", epoch)).tolist()
            offsets = torch.rand(len(self.slots), generator=keyed_generator(self.seed, "offset", epoch)).tolist()
            self._drawn = (epoch, order, offsets)
        return order, offsets

    def batch(self, items: Sequence[int]) -> Batch:
        """The crops of `items`, read. Raises OutputError."""
        return read_crops([self[item] for item in items], self.frames)


def even_crops(songs: Sequence[Song], *, frames: int, count: int) -> list[Crop]:
    """About `count` fixed crops for validation, at least one: songs in turn, each cut at evenly spread
    places.
    """
    chosen = list(songs)[:count]
    crops = []
    for index, song in enumerate(chosen):
        share = count // len(chosen) + (index < count % len(chosen))
        choices = max(0, song.frames - frames) // 2 + 1
        starts = sorted({2 * int((k + 0.5) / share * choices) for k in range(share)})
        crops += [Crop(song, start) for start in starts]
    return crops
