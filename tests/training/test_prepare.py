"""`prepare` where objectives ask for audio and tokens, songs are read ahead, processes share, and things go wrong."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.audio import find_audio, read_audio, stereo
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, OutputError
from heartopt.tokens import TokenInfo, frames_for, save_tokens
from heartopt.training import encodings, reading
from heartopt.training.cache import LatentCache
from heartopt.training.crops import CropSequence, read_crops
from heartopt.training.data import Encoding, Library, Needs, SongReady, find_songs, prepare
from heartopt.training.stopping import Limits, StoppedEarly

STEREO = Encoding(mono=False)
PRE_TANH = Encoding(mono=True, pre_tanh=True)
LISTEN = Needs(audio=True)


@pytest.fixture
def cache(codec: HeartCodec, tmp_path: Path) -> LatentCache:
    return LatentCache(tmp_path / "cache", codec.fingerprint())


def make(folder: Path, codec: HeartCodec, cache: LatentCache, encoding: Encoding = STEREO, **changed: Any) -> Library:
    return prepare(find_audio([folder]), codec=codec, cache=cache, encoding=encoding, **changed)


def entries(cache: LatentCache) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(cache.folder.iterdir())}


def padded(audio: Tensor, samples: int) -> Tensor:
    return torch.nn.functional.pad(stereo(audio), (0, samples - audio.shape[1]))


def teach(songs: Path, tokens: Path, codec: HeartCodec, **changed: Any) -> dict[str, Tensor]:
    """Random tokens for every song, beside each other as the songs are."""
    made = {}
    for file in find_audio([songs]):
        samples = read_audio(file.path).shape[1]
        frames = frames_for(samples)
        generator = torch.Generator().manual_seed(frames)
        codes = torch.randint(codec.config.codebook_size, (codec.config.num_quantizers, frames), generator=generator)
        info = TokenInfo("tiny", codec.fingerprint(), None, {}, frames, samples / 48_000)
        save_tokens(tokens / file.relative.with_name(file.path.stem + ".tokens.npy"), codes, replace(info, **changed))
        made[str(file.relative)] = codes
    return made


def test_audio_is_the_songs_own_aligned_with_its_latents(codec: HeartCodec, songs: Path, cache: LatentCache) -> None:
    for song in make(songs, codec, cache, needs=LISTEN).songs:
        assert song.audio is not None
        assert song.audio.samples == song.frames * codec.hop
        assert torch.equal(song.audio.read(), padded(read_audio(song.path), song.audio.samples))  # 16-bit files


def test_the_audio_of_a_part_is_of_that_part(codec: HeartCodec, songs: Path, cache: LatentCache) -> None:
    capped = Encoding(mono=True, max_seconds=1.6)
    (song, *_) = make(songs, codec, cache, capped, needs=LISTEN).songs
    assert song.audio is not None
    # As the latents: 20 code frames from code frame 10 on.
    assert torch.equal(song.audio.read(), read_audio(song.path)[:, 38_400:115_200])


@dataclass(frozen=True)
class Plain:
    """One song, cached in small pieces; and its padded audio and latents, encoded in one piece."""

    crops: CropSequence
    hop: int
    audio: Tensor
    inputs: Tensor
    targets: Tensor


@pytest.fixture(scope="module")
def plain(codec: HeartCodec, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("long")
    random = np.random.default_rng(5)
    soundfile.write(folder / "a.wav", 0.3 * random.standard_normal((150_000, 2)), 48_000, subtype="PCM_16")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encodings, "PIECE", 7)
        made = make(folder, codec, LatentCache(folder / "cache", "f"), PRE_TANH, needs=LISTEN)
    audio = read_audio(folder / "a.wav")
    with torch.no_grad():
        inputs = codec.encode_channels(audio.mean(0)[None, None], pre_tanh=True)[0, 0]
        targets = codec.encode_latents(audio[None])[0]
    return Plain(CropSequence(made.songs, frames=12, seed=0), codec.hop, padded(audio, 40 * 3840), inputs, targets)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(item=st.integers(0, 500), frames=st.integers(1, 50).map(lambda half: 2 * half))
def test_a_batch_holds_slices_of_the_plainly_encoded_song(plain: Plain, item: int, frames: int) -> None:
    crop = plain.crops[item]
    batch = read_crops([crop], frames)
    length = min(frames, 80 - crop.start)
    own = slice(crop.start, crop.start + length)
    assert batch.audio is not None
    torch.testing.assert_close(batch.inputs[0, :length], plain.inputs[own], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(batch.targets[0, :length], plain.targets[own], rtol=0, atol=1e-3)
    heard = plain.audio[:, own.start * plain.hop : own.stop * plain.hop]
    assert torch.equal(batch.audio[0, :, : length * plain.hop], heard)


def test_only_what_is_missing_is_made(
    codec: HeartCodec, songs: Path, cache: LatentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(songs, codec, cache)
    before = entries(cache)
    listening = make(songs, codec, cache, needs=LISTEN)
    assert listening.encoded_seconds > 0
    assert {name: content for name, content in entries(cache).items() if name in before} == before
    assert len(entries(cache)) == 2 * len(before)
    make(songs, codec, cache, PRE_TANH)
    monkeypatch.setattr(reading, "AudioFile", None)  # nothing is opened any more
    assert make(songs, codec, cache, needs=LISTEN).songs == listening.songs
    assert make(songs, codec, cache, PRE_TANH, needs=LISTEN).encoded_seconds == 0


def test_damaged_audio_is_made_again(codec: HeartCodec, songs: Path, cache: LatentCache) -> None:
    song = make(songs, codec, cache, needs=LISTEN).songs[0]
    good = entries(cache)
    assert song.audio is not None
    for damage in (b"", b"text", good[song.audio.path.name][:-1]):
        song.audio.path.write_bytes(damage)
        make(songs, codec, cache, needs=LISTEN)
        assert entries(cache) == good


@pytest.mark.parametrize("workers", [1, 4, 9])
def test_reading_ahead_changes_nothing(
    codec: HeartCodec, songs: Path, tmp_path: Path, workers: int, make_song: Callable[..., Path]
) -> None:
    for number in range(6):
        make_song(songs / "more" / f"{number}.wav", 1.1 + 0.3 * number, seed=20 + number)
    shutil.copy(songs / "a.wav", songs / "z.wav")
    (songs / "broken.wav").write_text("no audio")
    soundfile.write(songs / "nan.wav", np.full(96_000, np.nan), 48_000, subtype="FLOAT")
    made, seen, caches = [], [], []
    for number in (0, workers):
        caches.append(LatentCache(tmp_path / str(number), "f"))
        seen.append([])
        made.append(make(songs, codec, caches[-1], needs=LISTEN, workers=number, progress=seen[-1].append))
    assert seen[0] == seen[1]
    assert [song.name for song in made[0].songs] == [song.name for song in made[1].songs]
    assert made[0].skipped == made[1].skipped
    assert entries(caches[0]) == entries(caches[1])


def test_every_process_makes_its_share_and_then_finds_all(codec: HeartCodec, songs: Path, cache: LatentCache) -> None:
    shares = [make(songs, codec, cache, needs=LISTEN, share=(rank, 3)) for rank in range(3)]
    assert [[song.name for song in share.songs] for share in shares] == [["a.wav", "deep/d.wav"], ["b.wav"], ["c.flac"]]
    whole = make(songs, codec, cache, needs=LISTEN)
    assert whole.encoded_seconds == 0
    assert [song.name for song in whole.songs] == ["a.wav", "b.wav", "c.flac", "deep/d.wav"]


def test_runs_at_the_same_time_share_a_cache(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    def run(_: int) -> Library:
        return make(songs, codec, LatentCache(tmp_path / "cache", codec.fingerprint()), needs=LISTEN, workers=2)

    with ThreadPoolExecutor(3) as pool:
        libraries = list(pool.map(run, range(3)))
    assert libraries[0].songs == libraries[1].songs == libraries[2].songs
    alone = LatentCache(tmp_path / "alone", codec.fingerprint())
    make(songs, codec, alone, needs=LISTEN)
    assert entries(LatentCache(tmp_path / "cache", codec.fingerprint())) == entries(alone)


def test_songs_that_are_gone_after_encoding_are_still_trained_on(
    codec: HeartCodec, songs: Path, tmp_path: Path, cache: LatentCache
) -> None:
    teach(songs, tmp_path / "tokens", codec)
    made = make(songs, codec, cache, needs=Needs(audio=True, tokens=tmp_path / "tokens")).songs
    sequence = CropSequence(made, frames=10, seed=0)
    before = sequence.batch(range(8))
    shutil.rmtree(songs / "deep")
    (songs / "a.wav").write_bytes(b"RIFF and then nothing")
    shutil.rmtree(tmp_path / "tokens")
    after = sequence.batch(range(8))
    assert before.audio is not None and after.audio is not None
    assert before.tokens is not None and after.tokens is not None
    assert torch.equal(before.inputs, after.inputs)
    assert torch.equal(before.audio, after.audio)
    assert torch.equal(before.tokens, after.tokens)


def test_a_song_that_changes_while_it_is_read_is_skipped_and_not_kept(
    codec: HeartCodec, songs: Path, cache: LatentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = reading.sha256_of

    def hashed_then_written_to(path: Path) -> str:
        digest = plain(path)
        if path.name == "a.wav":
            with path.open("ab") as file:
                file.write(bytes(4))
        return digest

    monkeypatch.setattr(reading, "sha256_of", hashed_then_written_to)
    made = make(songs, codec, cache, needs=LISTEN)
    (skipped,) = made.skipped
    assert skipped.path.name == "a.wav" and skipped.failed
    assert "changed while it was read" in skipped.reason
    assert len(entries(cache)) == 2 * 3


def test_broken_off_and_unreadable_files_are_skipped(codec: HeartCodec, songs: Path, cache: LatentCache) -> None:
    content = (songs / "a.wav").read_bytes()
    (songs / "half.wav").write_bytes(content[:44])
    audio = np.full((96_000, 2), 0.25, dtype=np.float32)
    audio[60_000] = np.inf
    soundfile.write(songs / "late_inf.wav", audio, 48_000, subtype="FLOAT")
    (songs / "list.txt").write_text("half.wav\nlate_inf.wav\ndeep\nb.wav\ngone.wav\n")
    made = prepare(find_songs(songs / "list.txt"), codec=codec, cache=cache, encoding=STEREO, needs=LISTEN, workers=2)
    assert [song.name for song in made.songs] == ["b.wav"]
    assert [skipped.path.name for skipped in made.skipped] == ["half.wav", "late_inf.wav", "deep", "gone.wav"]
    assert all(skipped.failed and len(skipped.reason.splitlines()) == 1 for skipped in made.skipped)
    assert "NaN or infinite sample at 1.250 s" in made.skipped[1].reason
    assert len(entries(cache)) == 2  # nothing unfinished is left of the others


@pytest.mark.parametrize("workers", [0, 3])
def test_a_full_disk_ends_the_run_and_keeps_what_is_whole(
    codec: HeartCodec, songs: Path, cache: LatentCache, workers: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, hard))  # latents fit, audio does not
    try:
        with pytest.raises(OutputError, match=r"cannot write .*-audio-whole"):
            make(songs, codec, cache, needs=LISTEN, workers=workers)
        assert not cache.folder.exists() or entries(cache) == {}
        made = make(songs, codec, cache, workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(made.songs) == 4


def test_a_cache_that_is_too_small_is_not_the_songs_fault(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    cache = LatentCache(tmp_path / "cache", codec.fingerprint(), max_bytes=1_000_000)
    with pytest.raises(OutputError, match="--cache-size"):
        make(songs, codec, cache, needs=LISTEN, workers=2)


def test_stopping_leaves_no_threads_and_what_is_encoded(codec: HeartCodec, songs: Path, cache: LatentCache) -> None:
    seen: list[SongReady] = []
    limits = Limits(stop=lambda: len(seen) == 2)
    with pytest.raises(StoppedEarly, match="2 of 4 songs"):
        make(songs, codec, cache, needs=LISTEN, workers=3, progress=seen.append, limits=limits)
    assert len(entries(cache)) == 4


@pytest.mark.parametrize("limit", [None, 1.6])
def test_tokens_are_of_the_encoded_part(
    codec: HeartCodec, songs: Path, tmp_path: Path, cache: LatentCache, limit: float | None
) -> None:
    expected = teach(songs, tmp_path / "tokens", codec)
    needs = Needs(tokens=tmp_path / "tokens")
    encoding = Encoding(mono=True, max_seconds=limit)
    made = make(songs, codec, cache, encoding, needs=needs, workers=2)
    assert [song.name for song in made.songs] == list(expected)
    for song in made.songs:
        codes = expected[song.name]
        if song.name == "a.wav" and limit:  # 20 code frames from the tenth on, as the latents
            codes = codes[:, 10:30]
        elif limit:
            codes = codes[:, (codes.shape[1] - song.frames // 2) // 2 :][:, : song.frames // 2]
        assert song.tokens is not None
        assert song.tokens.frames == song.frames // 2
        assert torch.equal(song.tokens.read(), codes)
    assert make(songs, codec, cache, encoding, needs=needs) == replace(made, encoded_seconds=0.0, wall_seconds=0.0)


def test_other_tokens_are_other_entries(codec: HeartCodec, songs: Path, tmp_path: Path, cache: LatentCache) -> None:
    teach(songs, tmp_path / "tokens", codec)
    needs = Needs(tokens=tmp_path / "tokens")
    make(songs, codec, cache, needs=needs)
    path = tmp_path / "tokens" / "a.tokens.npy"
    np.save(path, 1 - np.minimum(np.load(path), 1))
    song = make(songs, codec, cache, needs=needs).songs[0]
    assert song.tokens is not None
    assert torch.equal(song.tokens.read(), torch.from_numpy(np.load(path)))


def test_songs_without_usable_tokens_are_skipped_and_listed(
    codec: HeartCodec, songs: Path, tmp_path: Path, cache: LatentCache
) -> None:
    tokens = tmp_path / "tokens"
    teach(songs, tokens, codec)
    (tokens / "a.tokens.npy").unlink()
    (tokens / "b.tokens.npy").write_bytes(b"no array")
    shutil.copy(tokens / "deep" / "d.tokens.npy", tokens / "c.tokens.npy")
    (tokens / "c.tokens.json").unlink()
    made = make(songs, codec, cache, needs=Needs(tokens=tokens), workers=2)
    assert [song.name for song in made.songs] == ["deep/d.wav"]
    reasons = {skipped.path.name: (skipped.reason, skipped.failed) for skipped in made.skipped}
    assert "has no tokens for it" in reasons["a.wav"][0] and not reasons["a.wav"][1]
    assert "not a whole .npy array" in reasons["b.wav"][0] and reasons["b.wav"][1]
    assert "has 33 frames, but the song 19" in reasons["c.flac"][0] and reasons["c.flac"][1]


def test_tokens_without_a_card_are_taken(codec: HeartCodec, songs: Path, tmp_path: Path, cache: LatentCache) -> None:
    teach(songs, tmp_path / "tokens", codec)
    for card in (tmp_path / "tokens").rglob("*.json"):
        card.unlink()
    assert len(make(songs, codec, cache, needs=Needs(tokens=tmp_path / "tokens")).songs) == 4


@pytest.mark.parametrize("workers", [0, 3])
def test_tokens_of_another_codec_end_the_run(
    codec: HeartCodec, songs: Path, tmp_path: Path, cache: LatentCache, workers: int
) -> None:
    teach(songs, tmp_path / "tokens", codec, fingerprint="0" * 64)
    with pytest.raises(ConfigError, match=rf"a\.tokens\.json: made with another codec \(tiny, {'0' * 12}\)"):
        make(songs, codec, cache, needs=Needs(tokens=tmp_path / "tokens"), workers=workers)


def test_the_state_of_a_file_says_whether_it_was_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    states = [reading._state(path)]
    path.write_bytes(b"1")
    states.append(reading._state(path))
    os.utime(path, (1, 1))
    states.append(reading._state(path))
    assert len(set(states)) == 3
