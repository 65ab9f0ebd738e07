"""`heartopt evaluate`: tables, files and exit codes; the figures' own tests are beside the metrics."""

from __future__ import annotations

import json
from pathlib import Path

QUICK = ("--duration", 7.44, "--num-steps", 1, "--metrics", "stft,mel", "--judge-seeds", "5")


def test_json_and_files(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song = make_song(seconds=0.2)
    args = ("--projection", projection_file, "--systems", "projection,silence", *QUICK)
    ran = heartopt("evaluate", song, "-o", tmp_path / "reports", *args, "--json")
    assert ran.code == 0, ran.err
    assert {"suite", "rows", "summary", "regressions"} <= set(ran.json)
    assert [(row["file"], row["system"]) for row in ran.json["rows"]] == [
        ("song.wav", "projection"),
        ("song.wav", "silence"),
    ]
    assert {"stft", "mel", "tier"} <= set(ran.json["rows"][0])
    written = {path.suffix: path for path in (tmp_path / "reports").iterdir()}
    assert set(written) == {".md", ".csv", ".json"}
    assert "heartopt evaluate" in written[".md"].read_text()
    assert json.loads(written[".json"].read_text())["rows"] == ran.json["rows"]


def test_the_table(heartopt, make_song) -> None:
    song = make_song(seconds=0.2)
    ran = heartopt("evaluate", song, "--systems", "scalar_roundtrip", "--systems", "silence", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    assert "scalar_roundtrip" in ran.out and "silence" in ran.out and "Poor" in ran.out


def test_what_cannot_be_judged(heartopt, make_song, tmp_path: Path) -> None:
    make_song("in/good.wav", seconds=0.1)
    (tmp_path / "in/bad.wav").write_text("la la la")
    ran = heartopt("evaluate", tmp_path / "in", "--systems", "silence", *QUICK, "--json")
    assert ran.code == 3
    assert [row["file"] for row in ran.json["failed"]] == ["bad.wav"]
    ran = heartopt("evaluate", tmp_path / "in/bad.wav", "--systems", "silence", *QUICK)
    assert ran.code == 1
    assert "bad.wav" in ran.out


def test_wrong_usage(heartopt, make_song, tmp_path: Path) -> None:
    song = make_song(seconds=0.1)
    assert heartopt("evaluate").code == 2
    assert heartopt("evaluate", song, "--suite", tmp_path / "suite.yaml").code == 2
    assert heartopt("evaluate", song, "--judge-seeds", "one").code == 2
    for args in (
        ("--systems", "nonsense"),
        ("--metrics", "nonsense"),
        ("--judge-seeds", "3,3"),
        ("--duration", 8),
    ):
        ran = heartopt("evaluate", song, *args)
        assert (ran.code, ran.out) == (2, "")
        ran.one_line_error()
    ran = heartopt("evaluate", "--suite", tmp_path / "none.yaml")
    assert ran.code == 1
    assert "none.yaml" in ran.one_line_error()
