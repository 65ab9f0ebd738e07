from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from heartopt.errors import AudioError, ConfigError
from heartopt.evaluation.suites import Song, files_suite, load_suite
from heartopt.files import sha256_of

MINI = Path(__file__).parents[2] / "benchmarks" / "suites" / "mini.yaml"


def test_the_suite_that_comes_along_is_whole() -> None:
    suite = load_suite(MINI)
    assert suite.name == "mini" and len(suite.songs) == 3
    for song in suite.songs:
        audio = song.read()
        assert audio.shape == (2, 8 * 48_000) and audio.abs().max() > 0.05
        assert song.details["licence"] == "CC-BY-SA-3.0" and song.details["author"] and song.details["title"]
    text = (MINI.parent / "excerpts" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert all(song.path.name in text and song.details["title"] in text for song in suite.songs)


def test_the_gate_s_suite_comes_along_too_with_songs_enough_for_an_interval() -> None:
    suite = load_suite(MINI.with_name("gate.yaml"))
    audios = [song.read() for song in suite.songs]
    assert suite.name == "gate" and len(audios) >= 6
    assert all(audio.shape == audios[0].shape and audio.abs().max() > 0.05 for audio in audios)
    assert all(not torch.equal(audios[0], audio) for audio in audios[1:])


def test_a_suite_says_which_part_of_a_song(tmp_path: Path) -> None:
    ramp = torch.linspace(-0.5, 0.5, 48_000)
    soundfile.write(tmp_path / "ramp.wav", ramp.numpy(), 48_000, subtype="FLOAT")
    digest = sha256_of(tmp_path / "ramp.wav")
    (tmp_path / "s.yaml").write_text(
        "name: s\nseeds: [7, 8]\nsystems: [projection, noise]\nsongs:\n"
        f"  - {{file: ramp.wav, start: 0.25, seconds: 0.5, sha256: {digest}, title: Ramp}}\n"
    )
    suite = load_suite(tmp_path / "s.yaml")
    assert suite.seeds == (7, 8) and suite.systems is not None
    assert [(spec.name, spec.system) for spec in suite.systems] == [("projection", "projection"), ("noise", "noise")]
    assert suite.songs[0].details["title"] == "Ramp"
    torch.testing.assert_close(suite.songs[0].read(), ramp[12_000:36_000].expand(2, -1))


def test_an_excerpt_beyond_the_end_is_refused(songs: Path) -> None:
    with pytest.raises(AudioError, match=r"a\.wav: lasts 0\.70 s, so nothing begins at 2 s"):
        Song("a", songs / "a.wav", start=2.0).read()
    with pytest.raises(AudioError, match=r"a\.wav: lasts 0\.70 s, so it has no 1 s from 0\.5 s on"):
        Song("a", songs / "a.wav", start=0.5, seconds=1.0).read()
    assert Song("a", songs / "a.wav", start=0.5, seconds=0.205).read().shape == (2, 9_600)


def test_one_file_gives_several_excerpts(songs: Path) -> None:
    parts = ", ".join(f"{{file: a.wav, name: part {index}, start: 0.{index}, seconds: 0.1}}" for index in (1, 2))
    (songs / "s.yaml").write_text(f"name: s\nsongs: [{parts}]")
    suite = load_suite(songs / "s.yaml")
    assert [(song.name, song.path.name, song.start) for song in suite.songs] == [
        ("part 1", "a.wav", 0.1),
        ("part 2", "a.wav", 0.2),
    ]
    first, second = (song.read() for song in suite.songs)
    assert first.shape == second.shape == (2, 4800) and not torch.equal(first, second)


def test_files_make_a_suite(songs: Path) -> None:
    suite = files_suite([songs])
    assert [song.name for song in suite.songs] == ["a.wav", "b.flac"]
    assert suite.songs[1].read().shape == (2, 24_000)


SONG = "songs: [{file: a.wav}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "cannot be read"),
        ("- 1", "must be a mapping, not list"),
        ("name: s", "has no songs"),
        ("name: s\nsongs: []", "has no songs"),
        (f"name: s\ncolour: red\n{SONG}", "unknown key colour; known are name"),
        (f"name: 3\n{SONG}", "name is 3, of the wrong type"),
        (f"name: ../s\n{SONG}", "cannot name its report's files"),
        (f"name: s\nseeds: [x]\n{SONG}", "seeds must be whole numbers"),
        ("name: s\nsongs: [{file: a.wav, tempo: 3}]", "a song: unknown key tempo"),
        ("name: s\nsongs: [{title: A}]", "a song: has no file"),
        ("name: s\nsongs: [a.wav]", "must be a mapping, not str"),
        ("name: s\nsongs: [{file: c.wav}]", r"c\.wav is not there$"),
        ("name: s\nsongs: [{file: c.wav, source: {}}]", r"not there; build it with benchmarks/build_suite\.py"),
        ("name: s\nsongs: [{file: a.wav, sha256: 0123}]", "of the wrong type"),
        ("name: s\nsongs: [{file: a.wav, sha256: 'abc'}]", "has SHA-256 .*, not abc"),
        ("name: s\nsongs: [{file: a.wav, seconds: 0}]", "seconds above 0"),
        ("name: s\nsongs: [{file: a.wav, seconds: .nan}]", "seconds above 0"),
        ("name: s\nsongs: [{file: a.wav, start: .inf}]", "start must not be negative"),
        ("name: s\nsongs: [{file: a.wav}]\nseeds: [true]", "seeds must be whole numbers"),
        ("name: s\nsongs: [{file: a.wav}, {file: a.wav}]", "names a song twice; give excerpts of one file a name each"),
        ("name: s\nsongs: [{file: a.wav}, {file: b.flac, name: a.wav}]", "names a song twice"),
    ],
)
def test_damaged_suites_are_refused_in_one_line(text: str, message: str, songs: Path) -> None:
    (songs / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_suite(songs / "s.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_suite(tmp_path / "none.yaml")
