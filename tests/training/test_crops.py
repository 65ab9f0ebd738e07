from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heartopt.errors import ConfigError
from heartopt.training.cache import LatentCache
from heartopt.training.crops import Crop, CropSequence, Song, even_crops, read_crops


def song(folder: Path, name: str, frames: int) -> Song:
    """A song whose latents count its frames."""
    counted = torch.arange(frames, dtype=torch.float32)[:, None].expand(frames, 2)
    entry = LatentCache(folder, "f").store(name, "kind", counted)
    return Song(Path(name), name, name, entry, entry)


def test_a_crop_is_the_songs_own_latents(tmp_path: Path) -> None:
    batch = read_crops([Crop(song(tmp_path, "a", 20), 6)], 8)
    assert batch.inputs[0, :, 0].tolist() == list(range(6, 14))
    assert torch.equal(batch.inputs, batch.targets)
    assert batch.real.all()


def test_a_short_song_is_looped_and_its_filling_marked(tmp_path: Path) -> None:
    batch = read_crops([Crop(song(tmp_path, "a", 6), 0)], 14)
    assert batch.targets[0, :, 1].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1]
    assert batch.real[0].tolist() == [True] * 6 + [False] * 8


def test_an_epoch_shows_every_part_of_every_song(tmp_path: Path) -> None:
    sequence = CropSequence([song(tmp_path, "a", 100), song(tmp_path, "b", 30)], frames=10, seed=0)
    assert len(sequence) == 13
    for epoch in range(3):
        crops = [sequence[item] for item in range(epoch * 13, (epoch + 1) * 13)]
        starts = sorted(crop.start for crop in crops if crop.song.name == "a")
        # Ten starts, one from each tenth of the 46 possible ones (0, 2, ..., 90), rounded down.
        assert all(4.6 * k - 1 < start / 2 < 4.6 * (k + 1) for k, start in enumerate(starts))
        assert all(crop.start % 2 == 0 and crop.start + 10 <= crop.song.frames for crop in crops)


def test_items_follow_from_seed_and_number_alone(tmp_path: Path) -> None:
    songs = [song(tmp_path, "a", 100), song(tmp_path, "b", 30)]

    def starts(seed: int, items: list[int]) -> list[tuple[str, int]]:
        sequence = CropSequence(songs, frames=10, seed=seed)
        return [(sequence[item].song.name, sequence[item].start) for item in items]

    assert starts(0, list(range(40))) == starts(0, list(reversed(range(40))))[::-1]
    assert starts(0, list(range(13))) != starts(0, list(range(13, 26)))
    assert starts(0, list(range(13))) != starts(1, list(range(13)))


def test_odd_or_empty_crops_and_no_songs_are_refused(tmp_path: Path) -> None:
    for frames in (0, 7):
        with pytest.raises(ConfigError, match="even number"):
            CropSequence([song(tmp_path, "a", 10)], frames=frames, seed=0)
    with pytest.raises(ConfigError, match="no songs"):
        CropSequence([], frames=8, seed=0)


def test_even_crops_spread_over_songs_and_within_them(tmp_path: Path) -> None:
    songs = [song(tmp_path, "a", 100), song(tmp_path, "b", 8), song(tmp_path, "c", 60)]
    crops = even_crops(songs, frames=10, count=5)
    assert [(crop.song.name, crop.start) for crop in crops] == [("a", 22), ("a", 68), ("b", 0), ("c", 26)]
    assert [crop.song.name for crop in even_crops(songs, frames=10, count=2)] == ["a", "b"]
