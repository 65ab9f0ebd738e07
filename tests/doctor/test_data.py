"""Folders of songs: too few, damaged, twice there, judged and trained on."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from heartopt.doctor import Check, data
from heartopt.doctor.data import data_checks, summary, validation_checks
from heartopt.doctor.songs import Survey

from .conftest import by_name


def quiet(what: str, done: int) -> None:
    pass


def checks_of(source: Path) -> dict[str, Check]:
    return by_name(data_checks(source, quiet)[0])


def judged_of(source: Path, data_dir: Path | None = None) -> dict[str, Check]:
    found = data_checks(data_dir, quiet)[1] if data_dir else None
    return by_name(validation_checks(source, found, quiet)[0])


@pytest.fixture
def songs(make_song, tmp_path: Path) -> Path:
    """Six different songs of one length."""
    for seed in range(6):
        make_song(tmp_path / f"songs/{seed}.wav", seed=seed)
    return tmp_path / "songs"


def test_enough_good_songs_are_fine(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "FEW_FILES", 6)
    checks = checks_of(songs)
    assert {name: check.status for name, check in checks.items()} == {
        "data folder": "ok",
        "data files": "ok",
        "data copies": "ok",
    }
    assert checks["data folder"].detail == f"{songs}: 6 usable of 6 files, 7.2 s; WAV 6; 8 kHz 6; mono 6"
    assert "silence" in checks["data files"].detail  # which nobody looked for


def test_few_songs_are_a_warning(songs: Path) -> None:
    check = checks_of(songs)["data folder"]
    assert check.status == "warning" and "fewer than 100 files" in check.detail and "100" in check.remedy


def test_broken_songs_are_listed_first_few_and_how_many_more(songs: Path) -> None:
    for number in range(5):
        (songs / f"broken{number}.wav").write_text("la la la")
    checks = checks_of(songs)
    assert "6 usable of 11 files" in checks["data folder"].detail
    files = checks["data files"]
    assert files.status == "warning"
    assert files.detail.startswith("5 of 11 have problems: broken0.wav: ")
    assert "broken2.wav" in files.detail and "broken3.wav" not in files.detail and "; and 2 more" in files.detail


def test_copies_are_found_by_content(songs: Path) -> None:
    shutil.copy(songs / "1.wav", songs / "again.wav")
    check = checks_of(songs)["data copies"]
    assert (check.status, check.detail) == ("warning", "copies of other files: 1 (again.wav is 1.wav)")


def test_folders_without_songs_fail(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cover.jpg").write_bytes(b"x")
    for source, complaint in ((tmp_path / "gone", "no such file or folder"), (tmp_path / "empty", "no audio files")):
        for check in (*checks_of(source).values(), *judged_of(source).values()):
            assert check.status == "failed" and complaint in check.detail and check.remedy
    (tmp_path / "a.wav").write_text("la la la")
    checks = checks_of(tmp_path)
    assert {name: check.status for name, check in checks.items()} == {"data folder": "failed", "data files": "warning"}
    assert "none of 1 files can be used" in checks["data folder"].detail


@pytest.mark.parametrize(("clips", "status"), [(4, "warning"), (5, "ok"), (8, "ok"), (9, "warning")])
def test_five_to_eight_clips(make_song, tmp_path: Path, clips: int, status: str) -> None:
    for seed in range(clips):
        make_song(tmp_path / f"{seed}.wav", seed=seed)
    check = judged_of(tmp_path)["validation folder"]
    assert check.status == status
    assert ("5 to 8" in check.detail) == (status == "warning") == bool(check.remedy)


def test_clips_that_are_songs_too_are_a_warning(songs: Path, make_song, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for seed in range(10, 15):
        make_song(clips / f"{seed}.wav", seed=seed)
    assert judged_of(clips, songs)["validation overlap"].status == "ok"
    shutil.copy(songs / "3.wav", clips / "three.wav")
    check = judged_of(clips, songs)["validation overlap"]
    assert (check.status, check.detail) == ("warning", "training songs that are also clips: 1 (3.wav is three.wav)")
    assert check.remedy


def test_clips_that_leave_no_song_to_train_on_fail(songs: Path) -> None:
    check = judged_of(songs, songs)["validation overlap"]
    assert check.status == "failed" and check.detail.endswith("none is left to train on")
    assert "also clips: 6 (0.wav; 1.wav; 2.wav; and 3 more)" in check.detail


def test_no_overlap_without_training_songs(songs: Path, tmp_path: Path) -> None:
    assert "validation overlap" not in judged_of(songs)
    (tmp_path / "empty").mkdir()
    assert "validation overlap" not in judged_of(songs, tmp_path / "empty")


def test_a_summary_stays_short() -> None:
    found = Survey(Path("in"), files=70, usable=70, seconds=7200.0, unmeasured=3)
    found.rates = Counter({8_000 + 11 * number: 10 for number in range(7)})
    found.kinds, found.channels = Counter({"MP3": 70}), Counter({2: 69, 1: 1})
    told = summary(found)
    assert told.startswith("in: 70 usable of 70 files, 2.00 h and 3 of unknown length; MP3 70; 8 kHz 10, ")
    assert told.endswith(", others 20; stereo 69, mono 1")
