"""Training crops: an endless, shuffled, evenly spread sequence, a function of (seed, item number)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from heartopt.errors import ConfigError
from heartopt.seeding import keyed_generator
from heartopt.training.cache import LatentFile


@dataclass(frozen=True)
class Song:
    """One song, encoded: `inputs` is what the projection reads, `targets` the stereo latents (the same file
    for 256).
    """

    path: Path
    name: str
    digest: str
    inputs: LatentFile
    targets: LatentFile

    @property
    def frames(self) -> int:
        """Latent frames, always even: two a code frame."""
        return self.targets.frames


@dataclass(frozen=True)
class Batch:
    """`inputs` `[B, L, C]`, `targets` `[B, L, 2·latents]`, `real` `[B, L]` bool: False where a short song was
    looped.
    """

    inputs: Tensor
    targets: Tensor
    real: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.real.to(device))


@dataclass(frozen=True)
class Crop:
    """`frames` latent frames of `song` from latent frame `start` (even: the song's own code frames)."""

    song: Song
    start: int


def read_crops(crops: Sequence[Crop], frames: int) -> Batch:
    """The latents of `crops`, each `frames` latent frames; shorter songs are looped, as `detokenize`
    does.
    """
    inputs, targets, real = [], [], []
    for crop in crops:
        length = min(frames, crop.song.frames - crop.start)
        index = torch.arange(frames) % length
        source = crop.song.inputs.read(crop.start, crop.start + length)
        target = (
            source if crop.song.inputs == crop.song.targets else crop.song.targets.read(crop.start, crop.start + length)
        )
        inputs.append(source[index])
        targets.append(target[index])
        real.append(torch.arange(frames) < length)
    return Batch(torch.stack(inputs), torch.stack(targets), torch.stack(real))


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
        self.frames = frames
        self.seed = seed
        self.slots = [
            (song, part, parts)
            for song in songs
            for parts in [max(1, round(song.frames / frames))]
            for part in range(parts)
        ]
        self._epoch = -1
        self._order: list[int] = []
        self._offsets: list[float] = []

    def __len__(self) -> int:
        """Items an epoch."""
        return len(self.slots)

    def __getitem__(self, item: int) -> Crop:
        epoch, position = divmod(item, len(self.slots))
        if epoch != self._epoch:
            self._order = torch.randperm(len(self.slots), generator=keyed_generator(self.seed, "order", epoch)).tolist()
            self._offsets = torch.rand(len(self.slots), generator=keyed_generator(self.seed, "offset", epoch)).tolist()
            self._epoch = epoch
        song, part, parts = self.slots[self._order[position]]
        choices = max(0, song.frames - self.frames) // 2 + 1
        return Crop(song, 2 * int((part + self._offsets[position]) / parts * choices))

    def batch(self, step: int, size: int) -> Batch:
        """The batch of training step `step`: items `step·size` to `(step + 1)·size`."""
        return read_crops([self[item] for item in range(step * size, (step + 1) * size)], self.frames)


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
