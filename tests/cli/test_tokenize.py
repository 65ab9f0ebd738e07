"""`heartopt tokenize`: what it writes, where, and what it says about it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heartopt import HeartCodec
from heartopt.cli import tokenize
from heartopt.cli.batch import Job


def test_tokens_and_their_json_appear(
    heartopt, make_song, mini: HeartCodec, projection_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    song = make_song(seconds=0.7)
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", "--projection", projection_file)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert "song.tokens.npy" in ran.out.replace("\n", "")
    tokens = np.load(tmp_path / "out/song.tokens.npy", allow_pickle=False)
    assert tokens.dtype == np.int64
    assert tokens.shape == (mini.config.num_quantizers, math.ceil(12.5 * 0.7))
    info = json.loads((tmp_path / "out/song.tokens.json").read_text())
    assert info["codec"] == "mini"
    assert info["fingerprint"] == mini.fingerprint()
    assert info["projection"] == str(projection_file)
    assert (info["frames"], info["seconds"]) == (tokens.shape[1], pytest.approx(0.7))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "song.tokens.json",
        "song.tokens.npy",
    ]


def test_json_is_one_object_on_standard_output(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song = make_song(seconds=0.3)
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", "--projection", projection_file, "--json")
    assert (ran.code, ran.err, ran.json["failed"]) == (0, "", [])
    (row,) = ran.json["files"]
    assert row["input"] == str(song)
    assert row["tokens"] == str(tmp_path / "out/song.tokens.npy")
    assert (row["frames"], row["seconds"]) == (4, pytest.approx(0.3))
    assert row["rtf"] == pytest.approx(row["wall_seconds"] / row["seconds"])


def test_folders_keep_their_relative_paths(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    for name in ("in/one.wav", "in/disc 2/two.flac", "in/disc 2/deep/three.ogg", "four.v2.wav"):
        make_song(name, seconds=0.1)
    (tmp_path / "in/cover.jpg").write_bytes(b"no audio")
    out = tmp_path / "out"
    ran = heartopt("tokenize", tmp_path / "in", tmp_path / "four.v2.wav", "-o", out, "--projection", projection_file)
    assert ran.code == 0, ran.err
    written = {str(path.relative_to(out)) for path in out.rglob("*.npy")}
    names = {"one", "disc 2/two", "disc 2/deep/three", "four.v2"}
    assert written == {f"{name}.tokens.npy" for name in names}


def test_two_inputs_for_one_output_are_refused_before_any_work(
    heartopt, make_song, projection_file: Path, tmp_path: Path
) -> None:
    first, second = make_song("song.wav", seconds=0.1), make_song("song.flac", seconds=0.1)
    other = make_song("elsewhere/song.wav", seconds=0.1)
    for pair in ((first, second), (first, other), (tmp_path,)):
        ran = heartopt("tokenize", *pair, "-o", tmp_path / "out", "--projection", projection_file)
        assert ran.code == 2
        assert "would both write" in ran.one_line_error()
        assert not (tmp_path / "out").exists()


def test_songs_that_have_tokens_are_skipped(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song, out = make_song("in/one.wav", seconds=0.1), tmp_path / "out"
    assert heartopt("tokenize", song, "-o", out, "--projection", projection_file).code == 0
    made = (out / "one.tokens.npy").stat().st_mtime_ns
    make_song("in/two.wav", seconds=0.1)
    ran = heartopt("tokenize", song.parent, "-o", out, "--projection", projection_file, "--json")
    assert ran.code == 0
    assert [Path(row["input"]).name for row in ran.json["files"]] == ["two.wav"]
    reason = f"{out / 'one.tokens.npy'} is there already"
    assert (ran.json["skipped"], ran.json["failed"]) == ([{"input": str(song), "reason": reason}], [])
    assert ran.err.splitlines() == [f"skipped {song}: {reason}", "pass --overwrite to make skipped files anew"]
    ran = heartopt("tokenize", song, "-o", out, "--projection", projection_file)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("skipped ")
    assert (out / "one.tokens.npy").stat().st_mtime_ns == made
    ran = heartopt("tokenize", song, "-o", out, "--projection", projection_file, "--overwrite")
    assert (ran.code, ran.err) == (0, "")
    assert (out / "one.tokens.npy").stat().st_mtime_ns > made


def test_a_failure_beside_skipped_songs_is_exit_code_3(heartopt, make_song, projection_file: Path, tmp_path) -> None:
    args = ("-o", tmp_path / "out", "--projection", projection_file, "--json")
    assert heartopt("tokenize", make_song("in/one.wav", seconds=0.1), *args).code == 0
    (tmp_path / "in/bad.wav").write_text("la la la")
    ran = heartopt("tokenize", tmp_path / "in", *args)
    assert ran.code == 3
    assert [len(ran.json[kind]) for kind in ("files", "skipped", "failed")] == [0, 1, 1]


def test_interrupting_tells_what_is_finished(
    heartopt, make_song, projection_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/one.wav", "in/two.wav"):
        make_song(name, seconds=0.1)
    tokenize_file = tokenize.tokenize_file

    def interrupt_second(job: Job, *args: Any, **rest: Any) -> dict[str, Any]:
        if job.source.stem == "two":
            raise KeyboardInterrupt
        return tokenize_file(job, *args, **rest)

    monkeypatch.setattr(tokenize, "tokenize_file", interrupt_second)
    args = ("tokenize", tmp_path / "in", "-o", tmp_path / "out", "--projection", projection_file, "--overwrite")
    ran = heartopt(*args, "--json")
    assert (ran.code, ran.err) == (130, "interrupted\n")
    assert [Path(row["input"]).name for row in ran.json["files"]] == ["one.wav"]
    ran = heartopt(*args)
    assert (ran.code, ran.err) == (130, "interrupted\n")
    assert "tokens" in ran.out


def test_a_bad_song_does_not_stop_the_others(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    make_song("in/good.wav", seconds=0.1)
    bad = tmp_path / "in/bad.wav"
    bad.write_text("la la la")
    out = tmp_path / "out"
    ran = heartopt("tokenize", tmp_path / "in", "-o", out, "--projection", projection_file, "--json")
    assert ran.code == 3
    assert [row["input"] for row in ran.json["files"]] == [str(tmp_path / "in/good.wav")]
    assert [row["input"] for row in ran.json["failed"]] == [str(bad)]
    assert ran.err.splitlines()[0].startswith(f"error: {bad}: ")
    assert ran.err.splitlines()[1:] == ["1 of 2 files failed"]
    assert {path.name for path in out.iterdir()} == {"good.tokens.npy", "good.tokens.json"}


def test_a_song_that_is_too_large_does_not_stop_the_others(
    heartopt, make_song, projection_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [make_song(name, seconds=0.1) for name in ("one.wav", "two.wav")]
    tokenize_file = tokenize.tokenize_file

    def fail_first(job: Job, *args: Any, **rest: Any) -> dict[str, Any]:
        if job.source.stem == "one":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return tokenize_file(job, *args, **rest)

    monkeypatch.setattr(tokenize, "tokenize_file", fail_first)
    ran = heartopt("tokenize", *songs, "-o", tmp_path / "out", "--projection", projection_file, "--json")
    assert (ran.code, len(ran.json["files"])) == (3, 1)
    assert ran.json["failed"] == [
        {"input": str(songs[0]), "error": "out of memory; free some, or choose another --device"}
    ]
    assert ran.err.startswith(f"error: {songs[0]}: out of memory")


def test_all_songs_bad_is_exit_code_1(heartopt, projection_file: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "in" / name).write_text("la la la")
    ran = heartopt("tokenize", tmp_path / "in", "-o", tmp_path / "out", "--projection", projection_file, "--json")
    assert ran.code == 1
    assert (ran.json["files"], len(ran.json["failed"])) == ([], 2)
    assert len(ran.err.splitlines()) == 2


def test_the_real_command(make_song, projection_file: Path, tmp_path: Path) -> None:
    song = make_song(seconds=0.1)
    command = [sys.executable, "-m", "heartopt", "tokenize", str(song), "--output_dir", str(tmp_path / "out")]
    command += ["--projection", str(projection_file), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["files"][0]["frames"] == 2
    ran = subprocess.run([*command[:4], "gone.wav", *command[5:]], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "error: gone.wav: no such file or folder\n"
    assert json.loads(ran.stdout) == {"error": "gone.wav: no such file or folder"}
