from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heartopt.audio import AudioFile, find_audio
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, HeartoptError
from heartopt.files import sha256_of
from heartopt.projection import EncoderProjection
from heartopt.projection.tokenizing import CHUNK_FRAMES
from heartopt.training import clip_songs
from heartopt.training.cache import LatentCache
from heartopt.training.clip_songs import MOST_CLIPS, encoded_span, file_names, read_clip, read_clips
from heartopt.training.crops import Song
from heartopt.training.data import Encoding, prepare


def stored(path: Path, name: str, latents: torch.Tensor, folder: Path) -> Song:
    digest = sha256_of(path)
    entry = LatentCache(folder, "f").store(digest, "kind", latents)
    return Song(path, name, digest, entry, entry)


@pytest.fixture
def long_song(make_song: Callable[..., Path], codec: HeartCodec, tmp_path: Path) -> Song:
    """450 code frames (36 s), with latents that nobody encoded."""
    path = make_song(tmp_path / "long.flac", 36.0, seed=1)
    latents = torch.tanh(torch.randn(900, 2 * codec.config.latent_hidden_dim, generator=torch.manual_seed(0)))
    return stored(path, "long.flac", latents, tmp_path)


@pytest.mark.parametrize("projection_type", ["linear", "query"])
def test_codes_are_those_of_the_whole_song(projection_type: Any, long_song: Song, codec: HeartCodec) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 64, projection_type=projection_type).eval()
    clip = read_clip(long_song, codec, "long")
    with torch.no_grad():
        e = codec.flow_matching.project_in(projection.project(long_song.inputs.read()[None]))
        whole = codec.flow_matching.quantize(e).codes[0]
        codes = clip.codes(projection, codec)
    assert clip.frames == codec.window_plan().codes == 372
    assert clip.inputs.shape[0] > 2 * CHUNK_FRAMES
    assert torch.equal(codes, whole[:, 39 : 39 + 372])


def test_a_clip_is_the_middle_of_the_song(long_song: Song, codec: HeartCodec) -> None:
    clip = read_clip(long_song, codec, "long")
    with AudioFile(long_song.path) as file:
        assert torch.equal(clip.original, file.read(39 * 3840, (39 + 372) * 3840))


def test_a_short_song_is_its_own_clip(make_song: Callable[..., Path], codec: HeartCodec, tmp_path: Path) -> None:
    path = make_song(tmp_path / "short.wav", 1.51, seed=2, channels=1)
    clip = read_clip(stored(path, "short.wav", torch.zeros(38, 256), tmp_path), codec, "short")
    assert clip.frames == 19
    assert clip.original.shape == (1, round(1.51 * 48_000))  # not the silence that fills the last code frame


def test_a_part_of_a_song_is_heard_where_it_was_encoded(
    make_song: Callable[..., Path], codec: HeartCodec, tmp_path: Path
) -> None:
    path = make_song(tmp_path / "songs" / "song.wav", 3.3, seed=3)

    def encoded(limit: float | None) -> Song:
        encoding = Encoding(mono=False, max_seconds=limit)
        cache = LatentCache(tmp_path / "cache", codec.fingerprint())
        return prepare(find_audio([path]), codec=codec, cache=cache, encoding=encoding).songs[0]

    whole, part = encoded(None), encoded(1.3)
    with AudioFile(path) as file:
        start, stop = encoded_span(file.num_samples, part.frames, codec)
        original = file.read(start, stop)
    first = start // codec.hop
    assert first > 0 and stop - start == part.frames * codec.hop < 1.3 * 48_000
    torch.testing.assert_close(part.inputs.read(), whole.inputs.read(first, first + part.frames), rtol=0, atol=2e-3)
    assert not torch.allclose(part.inputs.read(), whole.inputs.read(first + 2, first + 2 + part.frames), atol=2e-2)
    assert torch.equal(read_clip(part, codec, "song").original, original)


def test_noise_follows_from_the_song_and_the_place(long_song: Song, codec: HeartCodec) -> None:
    def draw(key: str) -> torch.Tensor:
        return torch.randn(3, generator=clip_songs.Clip("name", key, torch.empty(0), 0, 1, torch.empty(0)).noise())

    clip = read_clip(long_song, codec, "long")
    assert clip.key == f"{long_song.digest}:39"
    assert torch.equal(draw("a:1"), draw("a:1"))
    assert not torch.equal(draw("a:1"), draw("a:2"))


def test_a_projection_that_is_not_finite_is_refused(long_song: Song, codec: HeartCodec) -> None:
    projection = EncoderProjection(256, codec.config.dim, 16)
    with torch.no_grad():
        projection.net[0].bias.fill_(float("nan"))
        with pytest.raises(HeartoptError, match="not finite"):
            read_clip(long_song, codec, "long").codes(projection, codec)


def test_a_song_that_vanished_or_changed_is_left_out(
    make_song: Callable[..., Path], codec: HeartCodec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    songs = []
    for seed, name in enumerate(["gone.wav", "kept.wav", "other.wav", "noise.wav"]):
        path = make_song(tmp_path / name, 1.0, seed=seed)
        songs.append(stored(path, name, torch.zeros(26, 256), tmp_path))
    songs[0].path.unlink()
    make_song(songs[2].path, 1.0, seed=9)
    songs[3].path.write_bytes(b"not audio")
    with caplog.at_level(logging.WARNING):
        clips = read_clips(songs, codec, 8)
    assert [clip.name for clip in clips] == ["kept"]
    assert len(caplog.messages) == 3
    assert "gone.wav: no clip" in caplog.text and "cannot read" in caplog.messages[0]
    assert "has changed since it was encoded" in caplog.messages[1]
    with pytest.raises(AudioError):
        read_clip(songs[3], codec, "noise")


@pytest.mark.parametrize(
    ("songs", "count", "chosen"), [(3, 8, [0, 1, 2]), (20, 4, [2, 7, 12, 17]), (5, 0, []), (0, 8, [])]
)
def test_songs_are_spread_over_all(
    songs: int, count: int, chosen: list[int], codec: HeartCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_songs, "read_clip", lambda song, codec, name: name)
    entry: Any = None
    all_songs = [Song(Path("x"), f"{n}.wav", str(n), entry, entry) for n in range(songs)]
    assert read_clips(all_songs, codec, count) == [str(n) for n in chosen]
    assert len(read_clips(all_songs * 10, codec, 100)) in (0, MOST_CLIPS)


def test_names_are_flat_and_readable() -> None:
    given_names = ["deep/d.wav", "deep_d.flac", "DEEP/D.mp3", "01 - Für Elise (live).m4a", "a.b.wav", "x\ny\t*?.wav"]
    assert file_names(given_names) == [
        "deep_d",
        "deep_d_2",
        "DEEP_D_3",
        "01 - Für Elise (live)",
        "a.b",
        "x_y___",
    ]


def test_hostile_names_are_harmless() -> None:
    names = ["../../etc/passwd", ".hidden.wav", "-rf.wav", "/abs/song.wav", "..", "", "\udcff.wav", "é" * 300 + ".wav"]
    made = file_names(names)
    assert made[:7] == ["_.._etc_passwd", "hidden", "rf", "_abs_song", "clip", "clip_2", "_"]
    assert made[7] == "é" * 50


@given(
    st.lists(st.text(st.characters(), max_size=60) | st.sampled_from(["a/b.wav", "a_b.wav", "A_B_2.wav"]), max_size=8)
)
def test_names_are_unique_files_of_one_folder(songs: list[str]) -> None:
    names = file_names(songs)
    assert len({name.casefold() for name in names}) == len(songs)
    for name in names:
        assert name and Path(name).name == name and not name.startswith((".", "-", " "))
        assert name.isprintable() and len(name.encode()) < 110
        assert not set(name) & set('\\/:*?"<>|')
