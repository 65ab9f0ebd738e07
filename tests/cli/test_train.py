"""`heartopt train`: a tiny run through the command; the loop's own tests are beside the loop."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

QUICK = ("--hidden_dim", 16, "--batch_size", 2, "--max_duration", 0.4, "--val_samples", 2, "--lr", "1e-3")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "cache"))


def test_a_projection_appears_and_tokenizes(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_song(f"in/{name}.wav", seconds=1.2)
    args = ("--data_dir", tmp_path / "in", "--output_dir", tmp_path / "run", *QUICK)
    ran = heartopt("train", *args, "--steps", 3, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["ended"], ran.json["step"], ran.json["steps"], ran.json["failed"]) == ("done", 3, 3, [])
    best = Path(ran.json["projection"])
    card = json.loads(best.with_suffix(".json").read_text())
    assert "heartopt train --data_dir" in json.dumps(card)
    made = heartopt("tokenize", tmp_path / "in/a.wav", "-o", tmp_path / "out", "--projection", best)
    assert (made.code, made.err) == (0, "")

    again = heartopt("train", *args, "--steps", 3)
    assert again.code == 2
    assert "--overwrite" in again.one_line_error()


def test_bad_songs_are_listed(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    (tmp_path / "in/bad.wav").write_text("la la la")
    args = ("--data-dir", tmp_path / "in", "-o", tmp_path / "run", *QUICK, "--steps", 1, "--json")
    ran = heartopt("train", *args)
    assert ran.code == 3
    assert [Path(row["input"]).name for row in ran.json["failed"]] == ["bad.wav"]
    assert "bad.wav" in ran.err


def test_copies_and_validation_songs_are_no_failures(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    shutil.copy(tmp_path / "in/a.wav", tmp_path / "in/copy.wav")
    (tmp_path / "val").mkdir()
    shutil.copy(tmp_path / "in/b.wav", tmp_path / "val/b.wav")
    args = ("--data-dir", tmp_path / "in", "--val-dir", tmp_path / "val", "-o", tmp_path / "run", *QUICK)
    ran = heartopt("train", *args, "--steps", 1, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["failed"] == []
    assert sorted(Path(row["input"]).name for row in ran.json["skipped"]) == ["b.wav", "copy.wav"]


def test_interrupting_saves_and_tells_how_to_go_on(heartopt, make_song, tmp_path: Path, monkeypatch) -> None:
    from heartopt.cli import train

    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    hear = train.Report.__call__

    def interrupt(self: train.Report, event: object) -> None:
        hear(self, event)  # type: ignore[arg-type]
        if getattr(event, "kind", "") == "step":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train.Report, "__call__", interrupt)
    before = signal.getsignal(signal.SIGINT)
    args = ("--data-dir", tmp_path / "in", "-o", tmp_path / "run", *QUICK, "--steps", 50)
    ran = heartopt("train", *args)
    assert ran.code == 130
    assert "--resume auto" in ran.err
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.undo()
    assert (tmp_path / "run/latest.safetensors").is_file()


def test_interrupting_while_songs_are_encoded_tells_to_run_again(
    heartopt, make_song, tmp_path: Path, monkeypatch
) -> None:
    from heartopt.cli import train

    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    monkeypatch.setattr(train.Report, "__call__", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    args = ("--data-dir", tmp_path / "in", "-o", tmp_path / "run", *QUICK, "--steps", 1)
    ran = heartopt("train", *args, "--json")
    assert ran.code == 130
    assert "1 of 2" in ran.json["error"] and "again" in ran.json["error"]
    assert "Traceback" not in ran.err
    monkeypatch.undo()
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "cache"))
    assert heartopt("train", *args).code == 0


@pytest.mark.parametrize("args", [("--lr", -1), ("--budget", 0), ("--steps", 1, "--epochs", 1), ("--init", "x")])
def test_settings_that_make_no_sense_are_wrong_usage(heartopt, make_song, tmp_path: Path, args) -> None:
    ran = heartopt("train", "--data-dir", make_song().parent, "-o", tmp_path / "run", *args)
    assert (ran.code, ran.out) == (2, "")
    ran.one_line_error()
    assert not (tmp_path / "run").exists()


def test_no_songs(heartopt, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for songs in ("in", "gone"):
        ran = heartopt("train", "--data-dir", tmp_path / songs, "-o", tmp_path / "runs/first", *QUICK)
        assert (ran.code, ran.out) == (1, "")
        ran.one_line_error()
        assert [path.name for path in tmp_path.iterdir()] == ["in"]
