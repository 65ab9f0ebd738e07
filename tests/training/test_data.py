from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from heartopt.audio import AudioTensor, find_audio, read_audio
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, ConfigError, OutputError
from heartopt.training import data, encodings
from heartopt.training.cache import LatentCache
from heartopt.training.data import Encoding, SongReady, find_songs, prepare
from heartopt.training.encodings import encode_stretches, read_stretches

STEREO = Encoding(mono=False)
MONO = Encoding(mono=True)


def encoded(audio: Tensor, codec: HeartCodec, *encodings: Encoding) -> dict[Encoding, Tensor]:
    source = AudioTensor(audio)
    start, stop = encodings[0].frames(source, codec)
    return encode_stretches(read_stretches(source, codec, start, stop), codec, encodings)


@pytest.mark.parametrize("piece", [3, 10, 384])
def test_long_songs_are_encoded_in_pieces_as_if_in_one(
    codec: HeartCodec, songs: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    audio = read_audio(songs / "a.wav")
    whole = codec.encode_latents(audio[None])[0]
    monkeypatch.setattr(encodings, "PIECE", piece)
    pieces = encoded(audio, codec, STEREO)[STEREO]
    assert pieces.shape == whole.shape == (84, 256)
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5)


def test_mono_inputs_are_the_latents_of_the_channels_mean(codec: HeartCodec, songs: Path) -> None:
    audio = read_audio(songs / "a.wav")
    both = encoded(audio, codec, MONO, STEREO)
    mean = codec.encode_latents(audio.mean(0)[None, None])[0, :, :128]
    torch.testing.assert_close(both[MONO], mean, rtol=1e-5, atol=1e-5)
    assert both[STEREO].shape == (84, 256)


def test_a_mono_song_has_the_same_latents_left_and_right(codec: HeartCodec, songs: Path) -> None:
    latents = encoded(read_audio(songs / "b.wav"), codec, STEREO)[STEREO]
    assert torch.equal(latents[:, :128], latents[:, 128:])


@pytest.mark.parametrize("mono", [True, False])
def test_before_the_tanh(codec: HeartCodec, songs: Path, mono: bool) -> None:
    after, before = Encoding(mono=mono), Encoding(mono=mono, pre_tanh=True)
    both = encoded(read_audio(songs / "a.wav"), codec, after, before)
    torch.testing.assert_close(torch.tanh(both[before]), both[after])
    assert float(both[before].abs().max()) > float(both[after].abs().max())


def test_names_say_what_was_encoded() -> None:
    names = [
        encoding.name
        for encoding in (
            STEREO,
            MONO,
            Encoding(mono=True, max_seconds=60.0),
            Encoding(mono=True, pre_tanh=True),
            Encoding(mono=False, max_seconds=7.5, pre_tanh=True),
        )
    ]
    assert names == [
        "stereo-tanh-whole",
        "mean-tanh-whole",
        "mean-tanh-60s",
        "mean-pretanh-whole",
        "stereo-pretanh-7.5s",
    ]
    assert Encoding(mono=True, max_seconds=60.0, pre_tanh=True).target == Encoding(mono=False, max_seconds=60.0)


def test_a_cap_takes_the_middle_on_the_songs_own_code_frames(codec: HeartCodec, songs: Path) -> None:
    audio = read_audio(songs / "a.wav")
    capped = Encoding(mono=False, max_seconds=1.6)
    part = encoded(audio, codec, capped)[capped]
    whole = codec.encode_latents(audio[None])[0]
    # 158,400 samples; 1.6 s are 20 code frames; the middle begins at sample 40,800, inside code frame 10.
    torch.testing.assert_close(part, whole[20:60], rtol=1e-5, atol=1e-5)


def test_songs_are_encoded_once(
    codec: HeartCodec, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = LatentCache(tmp_path / "cache", codec.fingerprint())
    found = find_audio([songs])
    seen: list[SongReady] = []
    first = prepare(found, codec=codec, cache=cache, encoding=STEREO, progress=seen.append)
    assert [ready.encoded for ready in seen] == [True] * 4
    assert [ready.done for ready in seen] == [1, 2, 3, 4]
    assert first.encoded_seconds == pytest.approx(3.36 + 2.16 + 1.52 + 2.64)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(data, "encode_stretches", never)
    shutil.move(songs / "a.wav", songs / "renamed.wav")
    second = prepare(find_audio([songs]), codec=codec, cache=cache, encoding=STEREO)
    assert second.encoded_seconds == 0
    assert {song.targets for song in second.songs} == {song.targets for song in first.songs}


def test_a_damaged_entry_is_made_again(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    cache = LatentCache(tmp_path / "cache", codec.fingerprint())
    first = prepare(find_audio([songs]), codec=codec, cache=cache, encoding=STEREO)
    path = first.songs[0].targets.path
    good = path.read_bytes()
    path.write_bytes(good[:100])
    seen: list[SongReady] = []
    prepare(find_audio([songs]), codec=codec, cache=cache, encoding=STEREO, progress=seen.append)
    assert [ready.encoded for ready in seen] == [True, False, False, False]
    assert path.read_bytes() == good


def test_files_that_cannot_be_used_are_skipped_with_a_reason(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    (songs / "text.wav").write_text("no audio")
    (songs / "empty.wav").write_bytes(b"")
    soundfile.write(songs / "short.wav", np.full(4800, 0.1), 48_000)
    soundfile.write(songs / "silent.wav", np.full(96_000, 1e-6), 48_000, subtype="FLOAT")
    soundfile.write(songs / "nan.wav", np.full(96_000, np.nan), 48_000, subtype="FLOAT")
    shutil.copy(songs / "a.wav", songs / "z_copy.wav")
    cache = LatentCache(tmp_path / "cache", codec.fingerprint())
    library = prepare(find_audio([songs]), codec=codec, cache=cache, encoding=STEREO)
    assert [song.name for song in library.songs] == ["a.wav", "b.wav", "c.flac", "deep/d.wav"]
    reasons = {skipped.path.name: skipped.reason for skipped in library.skipped}
    assert set(reasons) == {"text.wav", "empty.wav", "short.wav", "silent.wav", "nan.wav", "z_copy.wav"}
    failed = {skipped.path.name for skipped in library.skipped if skipped.failed}
    assert failed == {"text.wav", "empty.wav", "nan.wav"}  # nothing is wrong with the others
    assert "too short (0.10 s" in reasons["short.wav"]
    assert "silent" in reasons["silent.wav"]
    assert reasons["z_copy.wav"] == "the same content as a.wav"
    assert all(len(reason.splitlines()) == 1 for reason in reasons.values())


def test_a_cache_that_cannot_be_written_is_not_the_songs_fault(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = LatentCache(tmp_path / "cache", codec.fingerprint())
    with pytest.raises(OutputError, match="cannot write"):
        prepare(find_audio([songs]), codec=codec, cache=cache, encoding=STEREO)


def test_a_list_of_songs(songs: Path) -> None:
    (songs / "list.txt").write_text("# mine\na.wav\n\ndeep/d.wav\ngone.wav\n")
    found = find_songs(songs / "list.txt")
    assert [file.path for file in found] == [songs / "a.wav", songs / "deep/d.wav", songs / "gone.wav"]
    assert str(found[1].relative) == "deep/d.wav"
    (songs / "list.tsv").write_text("split\tpath\ntrain\ta.wav\ntrain\tb.wav\n")
    assert [file.path.name for file in find_songs(songs / "list.tsv")] == ["a.wav", "b.wav"]


def test_a_missing_song_of_the_list_is_skipped(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    (songs / "list.txt").write_text("a.wav\ngone.wav\n")
    cache = LatentCache(tmp_path / "cache", codec.fingerprint())
    library = prepare(find_songs(songs / "list.txt"), codec=codec, cache=cache, encoding=STEREO)
    assert [song.name for song in library.songs] == ["a.wav"]
    assert [skipped.path.name for skipped in library.skipped] == ["gone.wav"]


def test_lists_without_songs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(AudioError, match="names no songs"):
        find_songs(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_songs(tmp_path / "missing.txt")
