"""Folders of tokens and of rendered audio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError, TokenError
from heartopt.evaluation.suites import Song, with_stems
from heartopt.evaluation.systems import Decoding, Output, Place, Setup, Subject, System, SystemSpec
from heartopt.optimize import OptimizeSettings
from heartopt.tokens import TokenInfo, save_tokens


@pytest.fixture
def setup(codec: HeartCodec) -> Setup:
    return Setup(codec, None, Decoding(7.44), OptimizeSettings(), seed=0)


def songs_of(folder: Path, *names: str) -> tuple[Song, ...]:
    return with_stems(Song(name, folder / name, file=name) for name in names)


def write_tokens(own: HeartCodec, path: Path, frames: int = 3, **changes: object) -> torch.Tensor:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(frames)
    tokens = torch.randint(own.config.codebook_size, (own.config.num_quantizers, frames), generator=generator)
    facts = TokenInfo("mini", own.fingerprint(), None, {}, frames, frames / 12.5)
    save_tokens(path, tokens, replace(facts, **changes))
    return tokens


def write_audio(path: Path, samples: int = 10_000, rate: int = 48_000) -> torch.Tensor:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    soundfile.write(path, audio.T.numpy(), rate, subtype="FLOAT" if path.suffix.lower() == ".wav" else None)
    return audio


def run(system: System, setup: Setup, song: Song, samples: int = 10_000) -> Output:
    return system(setup, Subject(0, torch.zeros(2, samples), lambda: torch.zeros(2, 1), song))


def folder(kind: str, path: Path) -> System:
    path.mkdir(parents=True, exist_ok=True)
    return SystemSpec.parse(f"{kind}:{path.name}", path.parent).make()


def test_tokens_lie_where_the_commands_put_them(setup: Setup, codec: HeartCodec, tmp_path: Path) -> None:
    plain, deep = songs_of(tmp_path, "a.wav", "album/b.c.flac")
    first = write_tokens(codec, tmp_path / "out/a.tokens.npy")
    second = write_tokens(codec, tmp_path / "out/album/b.c.tokens.npy", frames=3)
    system = folder("tokens", tmp_path / "out")
    found = run(system, setup, plain)
    assert found.tokens is not None and torch.equal(found.tokens, first)
    assert (found.note, found.timed, found.offset) == ("", False, 0)
    assert torch.equal(run(system, setup, deep).tokens, second)


def test_base_names_serve_where_they_are_one_file_s(setup: Setup, codec: HeartCodec, tmp_path: Path) -> None:
    write_tokens(codec, tmp_path / "out/b.tokens.npy")
    system = folder("tokens", tmp_path / "out")
    (alone,) = songs_of(tmp_path, "album/b.wav")
    assert run(system, setup, alone).tokens is not None
    for song in songs_of(tmp_path, "album/b.wav", "other/b.wav"):
        with pytest.raises(HeartoptError, match=r"has no output for this song; .* as \w+/b\.tokens\.npy"):
            run(system, setup, song)


def test_tokens_of_another_codec_are_refused(setup: Setup, codec: HeartCodec, tmp_path: Path) -> None:
    (song,) = songs_of(tmp_path, "a.wav")
    write_tokens(codec, tmp_path / "out/a.tokens.npy", fingerprint="ab" * 32, codec="theirs")
    with pytest.raises(TokenError, match=r"was made for the codec theirs \(abababababab\), and this is mini"):
        run(folder("tokens", tmp_path / "out"), setup, song)


def test_damaged_tokens_and_other_lengths_are_refused(setup: Setup, codec: HeartCodec, tmp_path: Path) -> None:
    (song,) = songs_of(tmp_path, "a.wav")
    system = folder("tokens", tmp_path / "out")
    (tmp_path / "out/a.tokens.npy").write_bytes(b"no array")
    with pytest.raises(TokenError, match=r"a\.tokens\.npy: not a whole \.npy"):
        run(system, setup, song)
    write_tokens(codec, tmp_path / "out/a.tokens.npy", frames=9)
    with pytest.raises(TokenError, match=r"9 frames last 0\.72 s, and the song 0\.21 s"):
        run(system, setup, song)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "A.WAV", "a.optimized.wav", "a.ogg"])
def test_audio_of_any_format_and_spelling(name: str, setup: Setup, tmp_path: Path) -> None:
    (song,) = songs_of(tmp_path, "a.mp3")
    audio = write_audio(tmp_path / "out" / name)
    found = run(folder("audio", tmp_path / "out"), setup, song)
    assert found.audio is not None and found.audio.shape == (2, 10_000) and not found.timed
    if name.lower() == "a.wav":
        torch.testing.assert_close(found.audio, audio)


def test_two_files_for_a_song_are_refused_unless_one_has_its_name(setup: Setup, tmp_path: Path) -> None:
    (song,) = songs_of(tmp_path, "a.mp3")
    write_audio(tmp_path / "out/a.flac")
    wave = write_audio(tmp_path / "out/a.wav")
    system = folder("audio", tmp_path / "out")
    with pytest.raises(HeartoptError, match=r"has both a\.flac and a\.wav for this song; keep one of them"):
        run(system, setup, song)
    (song,) = songs_of(tmp_path, "a.wav")
    torch.testing.assert_close(run(system, setup, song).audio, wave)


def test_an_excerpt_s_own_rendering_is_found_by_its_name(setup: Setup, tmp_path: Path) -> None:
    songs = with_stems(
        Song(f"part {n}", tmp_path / "x/s.wav", start=n / 10, seconds=0.1, file="x/s.wav") for n in (1, 2)
    )
    one = write_audio(tmp_path / "out/part 1.wav", 4800)
    whole = write_audio(tmp_path / "out/s.wav", 48_000)
    write_audio(tmp_path / "x/s.wav", 48_000)
    system = folder("audio", tmp_path / "out")
    found = run(system, setup, songs[0], 4800)
    assert found.note == "" and torch.equal(found.audio, one)
    found = run(system, setup, songs[1], 4800)
    assert found.note == "cut from the whole song" and torch.equal(found.audio, whole[:, 9600:14_400])


def test_what_a_cache_goes_by_is_the_file_s_content(setup: Setup, codec: HeartCodec, tmp_path: Path) -> None:
    (song,) = songs_of(tmp_path, "a.wav")
    place = Place(0, song, song)
    tokens, audio = folder("tokens", tmp_path / "tokens"), folder("audio", tmp_path / "audio")
    with pytest.raises(HeartoptError, match="has no output for this song"):
        tokens.identity(setup, place)
    seen = []
    for frames in (3, 4, 3):
        write_tokens(codec, tmp_path / "tokens/a.tokens.npy", frames=frames)
        write_audio(tmp_path / "audio/a.flac", 1000 * frames)
        seen.append((tokens.identity(setup, place), audio.identity(setup, place)))
    assert seen[0] == seen[2] != seen[1] and seen[0][1] != seen[1][1]
    assert audio.identity(replace(setup, mixdown=True), place) != seen[2][1]


def test_a_song_without_a_name_has_no_file(setup: Setup, tmp_path: Path) -> None:
    system = folder("audio", tmp_path / "out")
    with pytest.raises(HeartoptError, match="this one has no name"):
        system(setup, Subject(0, torch.zeros(2, 100), lambda: torch.zeros(2, 1)))
