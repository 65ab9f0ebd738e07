"""`heartopt evaluate`: tables, files and exit codes; the figures' own tests are beside the metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from heartopt.report.check import unfaithful

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
    assert list(unfaithful(folder / "files.json")) == []
    assert heartopt("evaluate", tmp_path / "in", "--plots").code == 2


def test_somebody_s_outputs_and_functions(
    heartopt, make_song, make_tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing or broken is named, and the rest is judged."""
    for name in ("in/<img onerror=alert(1)>.wav", "in/b.wav", "theirs/b.wav"):
        make_song(name, seconds=0.3)
    make_tokens("theirs/b", frames=4)
    (tmp_path / "own_codec.py").write_text("def fails(song): raise ValueError('no\\nway')\nclass Two: pass")
    monkeypatch.chdir(tmp_path)
    systems = "audio:theirs,codes=tokens:theirs,python:own_codec.fails"
    ran = heartopt("evaluate", "in", "--systems", systems, *QUICK, "--json")
    assert ran.code == 3, ran.err
    assert [(row["file"], row["system"]) for row in ran.json["rows"]] == [("b.wav", "audio:theirs"), ("b.wav", "codes")]
    failed = {(entry["file"], entry["system"]): entry["error"] for entry in ran.json["failed"]}
    assert len(failed) == 4 and all("\n" not in error for error in failed.values())
    assert "has no output for this song" in failed["<img onerror=alert(1)>.wav", "codes"]
    assert failed["b.wav", "python:own_codec.fails"].endswith("failed: ValueError: no way")
    for args in (("--embedder", "own_codec:Two"), ("--embedder", "none", "--against", "codes")):
        ran = heartopt("evaluate", "in", "--systems", "silence", *args, *QUICK)
        assert (ran.code, ran.out) == (2, "")
        ran.one_line_error()


def test_a_suite_that_is_not_what_it_says(heartopt, make_song, tmp_path: Path) -> None:
    make_song("a.wav", seconds=0.2)
    suite = tmp_path / "s.yaml"
    for text, word in (
        ("songs: [{file: a.wav, sha256: 'abc'}]", "has SHA-256"),
        ("songs: [{file: b.wav}]", "b.wav is not there"),
        ("colour: red\nsongs: [{file: a.wav}]", "unknown key colour"),
        ("systems: [{system: 3}]\nsongs: [{file: a.wav}]", "of the wrong type"),
    ):
        suite.write_text(f"name: s\n{text}")
        ran = heartopt("evaluate", "--suite", suite, *QUICK)
        assert (ran.code, ran.out) == (1, "")
        assert word in ran.one_line_error()
    suite.write_text("name: s\nsystems: [x=mp3:64]\nmetrics: [mel]\nagainst: x\nsongs: [{file: a.wav}]")
    ran = heartopt("evaluate", "--suite", suite, "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.json["rows"]
    assert (row["system"], ran.json["against"]) == ("x", "x") and "mel" in row and "stft" not in row


def test_inputs_may_be_patterns(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("in/a/1.wav", "in/b/2.wav", "in/c/3.flac"):
        make_song(name, seconds=0.1)
    ran = heartopt("evaluate", tmp_path / "in/*/*.wav", "--systems", "silence", *QUICK, "--json")
    assert [row["file"] for row in ran.json["rows"]] == ["a/1.wav", "b/2.wav"]


def test_a_folder_that_cannot_keep_anything(heartopt, make_song, tmp_path: Path) -> None:
    song = make_song(seconds=0.1)
    (tmp_path / "file").write_text("in the way")
    args = ("evaluate", song, "--systems", "silence", *QUICK)
    ran = heartopt(*args, "--cache", tmp_path / "file")
    assert (ran.code, ran.out) == (1, "") and "cannot write" in ran.one_line_error()
    for wrong in (("--no-cache", "--resume"), ("--no-cache", "--cache", tmp_path), ("--jobs", 0)):
        assert heartopt(*args, *wrong).code == 2


def test_a_page_that_cannot_be_written_takes_nothing_with_it(heartopt, make_song, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    song = make_song(seconds=0.2)
    ran = heartopt("evaluate", song, "--systems", "oracle", *QUICK, "--page", tmp_path / "taken" / "page.html")
    assert ran.code == 1 and "error: " in ran.err and "oracle" in ran.out
    ran = heartopt("evaluate", song, "--systems", "silence", *QUICK, "--json", "--page", tmp_path / "page.html")
    assert "nothing to hear" in ran.json["error"] and ran.json["rows"][0]["system"] == "silence"


def test_a_page_without_a_cache_makes_tokens_once(heartopt, make_song, tmp_path: Path, monkeypatch) -> None:
    song = make_song(seconds=0.2)
    (tmp_path / "own_calls.py").write_text(
        "import torch\n"
        "def tokens(song):\n"
        "    open('calls.txt', 'a').write('x')\n"
        "    return torch.zeros(8, 3, dtype=torch.int64)"
    )
    monkeypatch.chdir(tmp_path)
    args = ("--systems", "python:own_calls.tokens", "--no-cache", "--page", tmp_path / "page.html")
    ran = heartopt("evaluate", song, *args, *QUICK)
    assert ran.code == 0, ran.err
    assert (tmp_path / "calls.txt").read_text() == "x" and (tmp_path / "page.html").is_file()


def start(folder: Path, *args: object, **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "heartopt", "evaluate", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes, **options)


@pytest.mark.slow
def test_two_runs_at_once_share_a_cache(make_song, tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/b.wav"):
        make_song(name, seconds=0.2)
    args = ("in", "--systems", "random_codes,mp3:64,noise", *QUICK, "--cache", "kept", "--json")
    runs = [start(tmp_path, *args) for _ in range(2)]
    found = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], found
    kept = ("file", "system", "stft", "mel")
    rows = [[[row[key] for key in kept] for row in json.loads(out)["rows"]] for out, _ in found]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    assert not [path for path in (tmp_path / "kept").rglob(".*") if path.is_file()]


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_behind(make_song, tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/b.wav"):
        make_song(name, seconds=0.1)
    (tmp_path / "own_slow.py").write_text(
        "import os, pathlib, time\n"
        "def waits(song):\n"
        "    pathlib.Path(f'{os.getpid()}.pid').touch()\n"
        "    time.sleep(300)\n"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where a shell has it ignored, a child would too
    try:
        run = start(tmp_path, "in", "--systems", "python:own_slow.waits", "--jobs", 2, *QUICK, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 240
    while len(found := list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < end:
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "") and err.strip() == "interrupted"
    for file in found:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.stem), 0)
