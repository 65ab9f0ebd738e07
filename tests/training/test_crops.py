from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heartopt.errors import ConfigError
from heartopt.training.cache import LatentCache
from heartopt.training.crops import Crop, CropSequence, Song, even_crops, read_crops

HOP = 5  # samples of a latent frame


def song(folder: Path, name: str, frames: int) -> Song:
    """A song whose latents count its frames."""
    counted = torch.arange(frames, dtype=torch.float32)[:, None].expand(frames, 2)
    entry = LatentCache(folder, "f").store(name, "kind", counted)
    return Song(Path(name), name, name, entry, entry)


def whole_song(folder: Path, name: str, frames: int) -> Song:
    """A song with other inputs than targets, audio that counts its samples, and tokens that count their frames."""
    cache = LatentCache(folder, "f")
    samples, codes = torch.arange(frames * HOP) / 32768, torch.arange(frames // 2)
    with cache.store_audio(name, "audio", channels=2, samples=frames * HOP) as writer:
        writer.write(torch.stack([samples, -samples]))
    return Song(
        path=Path(name),
        name=name,
        digest=name,
        inputs=cache.store(name, "inputs", torch.arange(frames)[:, None] * torch.tensor([1.0, -1.0])),
        targets=cache.store(name, "targets", torch.arange(frames)[:, None] + torch.zeros(4)),
        audio=cache.find_audio(name, "audio", frames * HOP),
        tokens=cache.store_tokens(name, "tokens", torch.stack([codes, codes + 1000, codes + 2000])),
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data(), codes=st.integers(1, 40), frames=st.integers(1, 30).map(lambda half: 2 * half))
def test_all_of_a_crop_is_of_the_same_place(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, codes: int, frames: int
) -> None:
    entry = whole_song(tmp_path_factory.mktemp("song"), "a", 2 * codes)
    start = 2 * data.draw(st.integers(0, codes - 1))
    batch = read_crops([Crop(entry, start)], frames)
    length = min(frames, 2 * codes - start)
    latents = torch.tensor([start + place % length for place in range(frames)])
    samples = torch.tensor([start * HOP + place % (length * HOP) for place in range(frames * HOP)])
    assert batch.audio is not None and batch.tokens is not None
    assert torch.equal(batch.inputs[0], latents[:, None] * torch.tensor([1.0, -1.0]))
    assert torch.equal(batch.targets[0], latents[:, None].expand(-1, 4).float())
    assert batch.real[0].tolist() == [place < length for place in range(frames)]
    assert torch.equal(batch.audio[0] * 32768, torch.stack([samples, -samples]).float())
    assert torch.equal(batch.tokens[0], latents[::2] // 2 + torch.tensor([[0], [1000], [2000]]))
    assert (batch.audio.shape, batch.tokens.dtype) == ((1, 2, frames * HOP), torch.int64)


def test_a_batch_moves_whole(tmp_path: Path) -> None:
    batch = read_crops([Crop(whole_song(tmp_path, "a", 8), 0)], 4).to("meta")
    assert batch.audio is not None and batch.tokens is not None
    everything = (batch.inputs, batch.targets, batch.real, batch.audio, batch.tokens)
    assert {value.device.type for value in everything} == {"meta"}


def test_a_batch_is_its_items(tmp_path: Path) -> None:
    sequence = CropSequence([whole_song(tmp_path, "a", 60), whole_song(tmp_path, "b", 14)], frames=8, seed=3)
    items = [17, 2, 2, 40]
    batch = sequence.batch(items)
    for position, item in enumerate(items):
        single = read_crops([sequence[item]], 8)
        assert single.audio is not None and single.tokens is not None
        assert batch.audio is not None and batch.tokens is not None
        assert torch.equal(batch.inputs[position], single.inputs[0])
        assert torch.equal(batch.targets[position], single.targets[0])
        assert torch.equal(batch.audio[position], single.audio[0])
        assert torch.equal(batch.tokens[position], single.tokens[0])


def test_audio_and_tokens_are_read_where_all_songs_have_them(tmp_path: Path) -> None:
    whole, bare = whole_song(tmp_path, "a", 20), song(tmp_path, "b", 20)
    for songs, there in (([whole, whole], True), ([whole, bare], False), ([replace(whole, audio=None)], False)):
        sequence = CropSequence(songs, frames=8, seed=0)
        for item in range(4):
            assert (sequence.batch([item]).audio is not None) is there
    assert CropSequence([replace(whole, audio=None)], frames=8, seed=0).batch([0]).tokens is not None


def test_threads_get_the_same_items(tmp_path: Path) -> None:
    songs = [song(tmp_path, "a", 100), song(tmp_path, "b", 30)]
    alone = CropSequence(songs, frames=10, seed=0)
    expected = [alone[item] for item in range(200)]
    shared = CropSequence(songs, frames=10, seed=0)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shared.__getitem__, range(200))) == expected


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
