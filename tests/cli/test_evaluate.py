"""`heartopt evaluate`: tables, files and exit codes; the figures' own tests are beside the metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    assert set(written) == {".md", ".csv", ".json", ".png"}
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


def test_kept_rows_are_not_computed_again(heartopt, make_song, tmp_path: Path) -> None:
    song = make_song(seconds=0.2)
    args = ("evaluate", song, "--systems", "scalar_roundtrip,silence", *QUICK)
    first = heartopt(*args, "--json", "--cache", tmp_path / "kept")
    again = heartopt(*args, "--json", "--cache", tmp_path / "kept", "--resume")
    assert "kept from before" not in first.err and "2 of 2 rows were kept from before" in again.err
    assert [{**row, "wall_seconds": 0} for row in again.json["rows"]] == [
        {**row, "wall_seconds": 0} for row in first.json["rows"]
    ]
    assert "kept" not in heartopt(*args, "--no-cache").err


def test_any_system_and_what_differences_are_taken_from(heartopt, make_song, tmp_path: Path) -> None:
    song = make_song(seconds=0.2)
    ran = heartopt("evaluate", song, "--systems", "low=mp3:32,high=mp3:320", "--against", "low", *QUICK, "--json")
    assert ran.code == 0, ran.err
    assert [row["system"] for row in ran.json["rows"]] == ["low", "high"]
    assert ran.json["rows"][0]["kbps"] < ran.json["rows"][1]["kbps"]
    assert {(entry["system"], entry["baseline"]) for entry in ran.json["differences"]} == {("high", "low")}


def test_a_page_and_spectrograms(heartopt, make_song, tmp_path: Path) -> None:
    make_song("in/<img onerror=alert(1)>.wav", seconds=0.3)
    page, folder = tmp_path / "out/listen.html", tmp_path / "reports"
    args = ("--systems", "oracle,noise,silence", *QUICK, "--page", page, "-o", folder, "--plots")
    ran = heartopt("evaluate", tmp_path / "in", *args)
    assert ran.code == 0, ran.err
    text = page.read_text(encoding="utf-8")
    assert "<img onerror" not in text and "oracle" in text and "noise" in text
    assert (folder / "files.spectrograms.png").read_bytes().startswith(b"\x89PNG")
    assert heartopt("evaluate", tmp_path / "in", "--plots").code == 2


def test_processes_give_the_same_rows(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=0.2)
    args = ("evaluate", tmp_path / "in", "--systems", "scalar_roundtrip", *QUICK, "--no-cache", "--json")
    one, two = heartopt(*args), heartopt(*args, "--jobs", 2)
    assert two.code == 0, two.err
    measured = [[(row["file"], row["stft"], row["mel"]) for row in ran.json["rows"]] for ran in (one, two)]
    assert [row[0] for row in measured[1]] == ["a.wav", "b.wav"]
    for left, right in zip(*measured, strict=True):
        assert left[1:] == pytest.approx(right[1:], rel=1e-5)
