"""Headers and first samples of good, damaged and hostile files; which files can share their content."""

from __future__ import annotations

import os
import tracemalloc
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from heartopt.audio import AudioFile, find_audio
from heartopt.doctor.songs import Header, contents, read_header, repeated, song_paths, survey
from heartopt.errors import AudioError


def quiet(done: int) -> None:
    pass


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.mp3", "a.caf"])
def test_headers_of_many_formats(make_song, tmp_path: Path, name: str) -> None:
    header = read_header(make_song(tmp_path / name, seconds=2.0, rate=44_100, channels=2))
    assert (header.rate, header.channels) == (44_100, 2)
    assert header.seconds == pytest.approx(2.0, abs=0.06)  # MP3: whole frames and the encoder's delay


def test_an_ogg_that_ffmpeg_refuses_counts_as_in_training(make_song, tmp_path: Path, monkeypatch) -> None:
    def refuse(path: Path) -> None:
        raise AudioError(f"{path}: cannot be decoded as audio: Invalid data found when processing input")

    monkeypatch.setattr("heartopt.doctor.songs.av_frames", refuse)
    song = make_song(tmp_path / "a.ogg", seconds=2.0, rate=44_100, channels=2)
    assert read_header(song) == Header(44_100, 2, pytest.approx(2.0, abs=0.01))
    with AudioFile(song) as file:  # which training reads
        assert file.seconds == pytest.approx(2.0, abs=0.01)


def test_a_wav_that_libsndfile_cannot_seek_goes_to_ffmpeg(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 8_000, subtype="MS_ADPCM")
    header = read_header(tmp_path / "a.wav")
    assert (header.rate, header.channels) == (8_000, 1)
    assert header.seconds == pytest.approx(2.0, abs=0.05)


def _cut(path: Path, keep: float) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: round(len(whole) * keep)])
    return path


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


BAD: dict[str, tuple[Callable[[Path, Callable[..., Path]], Path], str]] = {
    "missing": (lambda folder, make: folder / "gone.wav", "no such file"),
    "empty": (lambda folder, make: _file(folder / "a.wav", b""), "empty"),
    "text": (lambda folder, make: _file(folder / "a.wav", b"la la la\n" * 99), "cannot be decoded"),
    "a pipe": (lambda folder, make: _fifo(folder / "a.wav"), "not a regular file"),
    "cut FLAC": (lambda folder, make: _cut(make(folder / "a.flac", seconds=4), 0.5), "breaks off"),
    "header only": (lambda folder, make: _cut(make(folder / "a.mp3"), 0.01), "cannot be decoded"),
    "no samples": (lambda folder, make: make(folder / "a.wav", seconds=0), "no samples"),
    "too short": (lambda folder, make: make(folder / "a.wav", seconds=0.9), "too short: 0.90 s"),
    "eight channels": (lambda folder, make: make(folder / "a.wav", channels=8), "has 8 channels"),
    "a wrong rate": (lambda folder, make: make(folder / "a.wav", rate=500, seconds=9), "claims 500 Hz"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(make_song, tmp_path: Path, kind: str, capfd) -> None:
    make, complaint = BAD[kind]
    with pytest.raises(AudioError, match=complaint) as caught:
        read_header(make(tmp_path, make_song))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # decoders print nothing


def test_the_files_are_those_that_training_finds(make_song, tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac", "deep/er/c.wav", ".hidden.wav", ".hidden/d.wav", "cover.jpg"):
        _file(tmp_path / "x", b"") if name == "cover.jpg" else make_song((tmp_path / name).with_suffix(".wav"))
    (tmp_path / "deep/loop").symlink_to(tmp_path, target_is_directory=True)
    found = list(song_paths(tmp_path))
    assert sorted(found) == sorted(file.path for file in find_audio([tmp_path]))
    assert len(found) == 3


def test_lists_of_songs_are_read_as_training_reads_them(make_song, tmp_path: Path) -> None:
    make_song(tmp_path / "in/a.wav")
    (tmp_path / "songs.txt").write_text("# mine\nin/a.wav\nin/gone.wav\n")
    found = survey(tmp_path / "songs.txt", quiet)
    assert (found.files, found.usable, str(found.problems)) == (2, 1, f"{tmp_path}/in/gone.wav: no such file")


def test_a_survey_counts(make_song, tmp_path: Path) -> None:
    make_song(tmp_path / "a.wav", seconds=1.5)
    make_song(tmp_path / "b.flac", seconds=2.5, rate=44_100, channels=2)
    make_song(tmp_path / "deep/c.wav", seconds=0.5)
    told: list[int] = []
    found = survey(tmp_path, told.append)
    assert (found.files, found.usable, found.seconds, found.unmeasured) == (3, 2, pytest.approx(4.0), 0)
    assert (found.kinds, found.rates, found.channels) == ({"WAV": 1, "FLAC": 1}, {8000: 1, 44_100: 1}, {1: 1, 2: 1})
    assert str(found.problems) == "deep/c.wav: too short: 0.50 s; songs need 1 s"
    assert list(found.sizes) == [path.stat().st_size for path in (tmp_path / "a.wav", tmp_path / "b.flac")]
    assert told == [1, 2, 3]


def test_memory_does_not_grow_with_the_files(make_song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_song(tmp_path / "a.wav")
    bad = _file(tmp_path / "b.wav", b"")

    def look(path: Path) -> Header:
        if path == bad:
            raise AudioError("broken")
        return Header(44_100, 2, 1.5)

    monkeypatch.setattr("heartopt.doctor.songs.read_header", look)
    monkeypatch.setattr(
        "heartopt.doctor.songs.song_paths", lambda source: (one for _ in range(5000) for one in (good, bad))
    )
    tracemalloc.start()
    found = survey(tmp_path, quiet)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.files, found.usable, found.problems.count) == (10_000, 5000, 5000)
    assert peak < 200_000  # bytes; 5000 sizes are 40,000


def test_a_length_that_no_header_tells_is_counted_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path / "a.aac", b"x")
    monkeypatch.setattr("heartopt.doctor.songs.read_header", lambda path: Header(44_100, 2, None))
    found = survey(tmp_path, quiet)
    assert (found.usable, found.seconds, found.unmeasured) == (1, 0.0, 1)


def test_hostile_names_are_shown_as_escapes(tmp_path: Path) -> None:
    names = [b"\xff.wav", b"[bold]\x1b[31m.wav", b"line\nbreak.wav"]
    for name in names:
        _file(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)), b"")
    listed = str(survey(tmp_path, quiet).problems)
    assert listed.isprintable()
    for part in (r"\udcff.wav: ", r"[bold]\x1b[31m.wav: ", r"line\nbreak.wav: "):
        assert part in listed


@given(st.lists(st.integers(0, 6)))
def test_repeated_sizes_are_those_of_two_files_or_more(sizes: list[int]) -> None:
    assert repeated(array("q", sizes)) == {size for size in sizes if sizes.count(size) > 1}


def test_only_files_of_the_sizes_are_hashed(make_song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = [make_song(tmp_path / f"{name}.wav", seed=seed) for name, seed in (("a", 1), ("b", 2))]
    make_song(tmp_path / "c.wav", seconds=3)
    hashed: list[Path] = []
    monkeypatch.setattr("heartopt.doctor.songs.sha256_of", lambda path: (hashed.append(path), "digest")[1])
    size = same[0].stat().st_size
    assert list(contents(tmp_path, {size}, quiet)) == [("digest", path) for path in same]
    assert hashed == same
    assert list(contents(tmp_path, set(), quiet)) == []
