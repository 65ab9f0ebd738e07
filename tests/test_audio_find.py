"""Finding audio: files as given, folders in depth, one name for each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartopt.audio_find import AUDIO_SUFFIXES, FoundFile, find_audio
from heartopt.errors import AudioError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_is_read_in_depth_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "a/z.MP3", "a/b/c.flac", "notes.txt", "cover.jpg")
    touch(tmp_path, ".hidden.wav", "._b.wav", ".git/x.wav")
    assert find_audio([tmp_path]) == [
        FoundFile(tmp_path / name, Path(name)) for name in ("a/b/c.flac", "a/z.MP3", "b.wav")
    ]


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "deep/song.xyz", "deep/noext")
    paths = [tmp_path / "deep/song.xyz", tmp_path / "deep/noext"]
    assert find_audio(paths) == [FoundFile(path, Path(path.name)) for path in paths]


def test_each_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "one/song.wav", "one/song.flac", "one/Song.ogg", "two/song.wav", "two/song_2.wav")
    found = find_audio([tmp_path / "one", tmp_path / "two", tmp_path / "one" / "song.wav"])
    # The file named last was in the first folder already; another suffix is another name.
    names = [str(file.relative) for file in found]
    assert names == ["Song.ogg", "song.flac", "song.wav", "song_2.wav", "song_2_2.wav"]


def test_the_same_file_twice_is_one(tmp_path: Path) -> None:
    touch(tmp_path, "song.wav")
    assert len(find_audio([tmp_path / "song.wav", tmp_path / "song.wav", tmp_path])) == 1


def test_links_are_followed_and_cycles_end(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/far.wav", "songs/near.wav")
    (tmp_path / "songs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "songs" / "loop").symlink_to(tmp_path / "songs")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "songs")
    (tmp_path / "songs" / "file.wav").symlink_to(tmp_path / "elsewhere" / "far.wav")
    found = find_audio([tmp_path / "songs"])
    assert [str(file.relative) for file in found] == ["file.wav", "link/far.wav", "near.wav"]


def test_missing_paths_and_folders_without_audio_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "sub/readme.md")
    with pytest.raises(AudioError, match=r"none\.wav: no such file or folder"):
        find_audio([tmp_path / "none.wav"])
    with pytest.raises(AudioError, match="no audio files in this folder"):
        find_audio([tmp_path])
    with pytest.raises(AudioError, match="File name too long"):
        find_audio([tmp_path / ("n" * 300)])


def test_suffixes_are_lower_case_with_their_dot() -> None:
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)


def test_a_pattern_that_no_shell_expanded_stands_for_what_it_matches(tmp_path: Path) -> None:
    touch(tmp_path, "one/b.wav", "one/a.wav", "one/deep/c.wav", "one/notes.txt")
    assert [file.path.name for file in find_audio([tmp_path / "one/*.wav"])] == ["a.wav", "b.wav"]
    assert [file.path.name for file in find_audio([tmp_path / "one/**/*.wav"])] == ["a.wav", "b.wav", "c.wav"]
    # Names keep the folders behind the first wildcard, and a folder and its files are not taken twice.
    touch(tmp_path, "two/a.wav")
    assert [str(file.relative) for file in find_audio([tmp_path / "*/a.wav"])] == ["one/a.wav", "two/a.wav"]
    assert [str(file.relative) for file in find_audio([tmp_path / "two/**"])] == ["a.wav"]
    with pytest.raises(AudioError, match="nothing matches"):
        find_audio([tmp_path / "one/*.txt"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "a[b].wav", "ab.wav")
    assert [file.path.name for file in find_audio([tmp_path / "a[b].wav"])] == ["a[b].wav"]
