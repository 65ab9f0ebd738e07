from __future__ import annotations

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import AudioError
from heartopt.tokens import TokenInfo, save_tokens
from heartopt.training.cache import LatentCache, LatentFile
from heartopt.training.crops import Song
from heartopt.training.data import Encoding, Needs
from heartopt.training.split import SongSplit, hold_out, split_songs
from heartopt.training.stopping import Limits, StoppedEarly
from heartopt.training.world import World


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


def split(codec: HeartCodec, tmp_path: Path, data: Path, val: Path | None = None, **changed: Any) -> SongSplit:
    return split_songs(
        data,
        val,
        codec=codec,
        cache=LatentCache(tmp_path / "cache", codec.fingerprint()),
        encoding=Encoding(mono=False),
        progress=None,
        **changed,
    )


@dataclass(frozen=True)
class Threads(World):
    """Processes as threads of one."""

    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    said: list[bool] = field(default_factory=list)

    @classmethod
    def of(cls, size: int) -> list[Threads]:
        meeting, said = threading.Barrier(size, timeout=60), [False] * size
        return [cls(rank, size, "cpu", meeting, said) for rank in range(size)]

    def any(self, value: bool) -> bool:
        self.said[self.rank] = value
        self.meeting.wait()
        result = any(self.said)
        self.meeting.wait()
        return result


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
    assert "only 3 songs" in caplog.text
    assert made.seconds == pytest.approx(2.16 + 1.52 + 2.64)


def test_nothing_to_train_on_is_an_error(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="nothing is left to train on"):
        split(codec, tmp_path, songs, songs)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"none of 1 files can be used; the first: .*text\.wav"):
        split(codec, tmp_path, broken)


def test_processes_share_the_encoding_and_agree_on_the_songs(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    def run(world: World) -> SongSplit:
        return split(codec, tmp_path, songs, needs=Needs(audio=True), world=world, workers=1)

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(run, Threads.of(3)))
    assert made[0].training == made[1].training == made[2].training
    assert made[0].held_out == made[1].held_out == made[2].held_out
    assert all(song.audio is not None for song in made[0].training)
    # a and deep/d, b, c: each song once.
    assert [one.encoded_seconds for one in made] == pytest.approx([3.36 + 2.64, 2.16, 1.52])


def test_where_one_process_is_stopped_all_stop(codec: HeartCodec, songs: Path, tmp_path: Path) -> None:
    def run(world: World) -> str:
        with pytest.raises(StoppedEarly) as caught:
            split(codec, tmp_path, songs, world=world, limits=Limits(stop=lambda: world.rank == 1))
        return caught.value.ended

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, Threads.of(2))) == ["stopped", "stopped"]


def test_a_teacher_is_asked_for_training_songs_only(
    codec: HeartCodec, songs: Path, tmp_path: Path, make_song: Any
) -> None:
    make_song(tmp_path / "val" / "new.wav", 1.2, seed=9)
    config = codec.config
    for name, frames in (("a", 42), ("c", 19)):
        codes = torch.full((config.num_quantizers, frames), 3)
        info = TokenInfo("tiny", codec.fingerprint(), None, {}, frames, frames / 12.5)
        save_tokens(tmp_path / "tokens" / f"{name}.tokens.npy", codes, info)
    made = split(codec, tmp_path, songs, tmp_path / "val", needs=Needs(tokens=tmp_path / "tokens"))
    assert [song.name for song in made.training] == ["a.wav", "c.flac"]
    assert all(song.tokens is not None for song in made.training)
    assert [song.name for song in made.held_out] == ["new.wav"]
    assert [skipped.path.name for skipped in made.skipped] == ["b.wav", "d.wav"]
