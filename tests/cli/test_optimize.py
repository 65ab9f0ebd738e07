"""`heartopt optimize`: its files, its JSON, its table; the method's own tests are beside the method."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import heartopt.optimize
from heartopt import HeartCodec
from heartopt.evaluation import tier

QUICK = ("--duration", 7.44, "--steps", 2)


@pytest.fixture(autouse=True)
def quick_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare under one seed each, with one Euler step: these tests are not about how good the tokens are."""
    settings = heartopt.optimize.OptimizeSettings
    quick = functools.partial(settings, num_steps=1, select_seeds=1, judge_seeds=1)
    monkeypatch.setattr(heartopt.optimize, "OptimizeSettings", quick)


def test_files_and_json(heartopt, make_song, mini: HeartCodec, projection_file: Path, tmp_path: Path) -> None:
    song, out = make_song("in/a [b].wav", seconds=0.37), tmp_path / "out"
    args = ("--projection", projection_file, "--keep-start", "--seed", 3, *QUICK)
    ran = heartopt("optimize", tmp_path / "in", "-o", out, *args, "--json")
    assert ran.code == 0, ran.err
    assert all(line.startswith("note: ") for line in ran.err.splitlines())
    (row,) = ran.json["files"]
    assert ran.json["failed"] == []
    assert (row["input"], row["tokens"]) == (str(song), str(out / "a [b].tokens.npy"))
    assert (row["audio"], row["start_audio"]) == (str(out / "a [b].optimized.wav"), str(out / "a [b].start.wav"))
    assert (row["frames"], row["codes"], row["steps"]) == (5, 5 * mini.config.num_quantizers, 2)
    assert 0 <= row["codes_changed"] <= row["codes"]
    assert row["rtf"] == row["wall_seconds"] / row["seconds"]
    for side in (row["start"], row["result"]):
        assert {"stft", "mel", "shimmer_db", "tier"} <= set(side)
        assert side["tier"] == tier(side["stft"])
    for name in ("audio", "start_audio"):
        assert soundfile.info(row[name]).frames == 17_760
    assert np.load(row["tokens"]).shape == (mini.config.num_quantizers, 5)
    info = json.loads((out / "a [b].tokens.json").read_text())
    assert (info["settings"]["seed"], info["settings"]["duration"]) == (3, 7.44)
    assert len(list(out.iterdir())) == 4


def test_the_table_tells_start_and_result(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song = make_song(seconds=0.2)
    ran = heartopt("optimize", song, "-o", tmp_path / "out", "--projection", projection_file, *QUICK)
    assert ran.code == 0, ran.err
    for heading in ("STFT", "mel", "shimmer", "codes", "seconds", "real-time"):
        assert heading in ran.out
    assert [line.split()[0] for line in ran.out.splitlines()[-3:-1]] == ["start", "result"]
    assert not (tmp_path / "out/song.start.wav").exists()
    again = heartopt("decode", tmp_path / "out/song.tokens.npy", "-o", tmp_path / "out", "--steps", 1)
    assert (again.code, again.err) == (0, "")


@pytest.mark.parametrize("name", ["song.wav", "a rather long folder [2]/with a rather long name of a song in it.wav"])
def test_the_table_fits_into_80_columns(
    heartopt, make_song, projection_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    song = make_song(name, seconds=0.1)
    ran = heartopt("optimize", song, "-o", tmp_path / "out", "--projection", projection_file, *QUICK)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in ran.out
    assert name.replace(" ", "") in "".join(ran.out.split())
    for side in ("start", "result"):
        assert len([line for line in lines if line.startswith(f"{side} ")]) == 1


def test_one_bad_song_of_two(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    make_song("in/good.wav", seconds=0.1)
    (tmp_path / "in/bad.flac").write_bytes(b"fLaC")
    args = ("--projection", projection_file, "--duration", 7.44, "--steps", 0, "--json")
    ran = heartopt("optimize", tmp_path / "in", "-o", tmp_path / "out", *args)
    assert ran.code == 3
    assert (len(ran.json["files"]), len(ran.json["failed"])) == (1, 1)
    assert ran.json["files"][0]["codes_changed"] == 0
    assert "error: " in ran.err and "1 of 2 files failed" in ran.err


def test_songs_that_have_tokens_are_skipped(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song, out = make_song(seconds=0.1), tmp_path / "out"
    args = ("optimize", song, "-o", out, "--projection", projection_file, "--duration", 7.44, "--steps", 0, "--json")
    (out / "song.tokens.npy").parent.mkdir()
    (out / "song.tokens.npy").write_bytes(b"hard work")
    ran = heartopt(*args)
    assert (ran.code, ran.json["files"], len(ran.json["skipped"])) == (0, [], 1)
    assert [path.read_bytes() for path in out.iterdir()] == [b"hard work"]
    ran = heartopt(*args, "--overwrite")
    assert (ran.code, len(ran.json["files"]), ran.json["skipped"]) == (0, 1, [])


def test_settings_that_make_no_sense(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song = make_song(seconds=0.1)
    for args, complaint in ((("--budget", 0), "budget"), (("--duration", 8), "multiple of 7.44")):
        ran = heartopt("optimize", song, "-o", tmp_path / "out", "--projection", projection_file, *args)
        assert (ran.code, ran.out) == (2, "")
        assert complaint in ran.one_line_error()
        assert not (tmp_path / "out").exists()
