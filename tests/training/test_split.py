from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from heartopt.codec import HeartCodec
from heartopt.errors import AudioError
from heartopt.training.cache import LatentCache, LatentFile
from heartopt.training.crops import Song
from heartopt.training.data import Encoding
from heartopt.training.split import SongSplit, hold_out, split_songs


def song(name: str) -> Song:
    entry = LatentFile(Path(name), 10, 256)
    return Song(Path(name), name, name, entry, entry)


@pytest.mark.parametrize(("songs", "held_out"), [(2, 1), (19, 1), (20, 2), (200, 8)])
def test_a_tenth_is_held_out(songs: int, held_out: int) -> None:
    everything = [song(f"{number:03}") for number in range(songs)]
    training, judged, _ = hold_out(everything)
    assert len(judged) == held_out
    assert sorted(s.name for s in training + judged) == [s.name for s in everything]


def test_the_choice_does_not_depend_on_the_order() -> None:
    songs = [song(f"{number:03}") for number in range(30)]
    assert {s.name for s in hold_out(songs)[1]} == {s.name for s in hold_out(songs[::-1])[1]}


def test_one_song_is_judged_on_itself_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    training, judged, _ = hold_out([song("only")])
    assert training == judged == (song("only"),)
    assert "one song only" in caplog.text


def split(codec: HeartCodec, tmp_path: Path, data: Path, val: Path | None = None) -> SongSplit:
    return split_songs(
        data,
        val,
        codec=codec,
        cache=LatentCache(tmp_path / "cache", codec.fingerprint()),
        encoding=Encoding(mono=False),
        progress=None,
    )


def test_a_validation_song_is_never_trained_on(
    codec: HeartCodec, songs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, make_song: Any
) -> None:
    caplog.set_level(logging.WARNING)
    val = tmp_path / "val"
    make_song(val / "new.wav", 1.2, seed=9)
    shutil.copy(songs / "a.wav", val / "copy_of_a.wav")
    made = split(codec, tmp_path, songs, val)
    assert [s.name for s in made.training] == ["b.wav", "c.flac", "deep/d.wav"]
    assert [s.name for s in made.held_out] == ["copy_of_a.wav", "new.wav"]
    (skipped,) = made.skipped
    assert (skipped.path.name, skipped.reason) == ("a.wav", "held out: also in the validation songs")
    assert not skipped.failed
    assert "only 3 training songs" in caplog.text
    assert made.seconds == pytest.approx(2.16 + 1.52 + 2.64)


def test_nothing_to_train_on_is_an_error(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="nothing is left to train on"):
        split(codec, tmp_path, songs, songs)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"none of 1 files can be used; the first: .*text\.wav"):
        split(codec, tmp_path, broken)
