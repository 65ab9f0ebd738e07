"""`heartopt optimize`: its files, its JSON, its table; the method's own tests are beside the method."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import heartopt.optimize
from heartopt import HeartCodec
from heartopt.cli.optimize import _SongBar
from heartopt.codec.windows import WindowPlan
from heartopt.evaluation import tier
from heartopt.optimize import PRESETS, FileReport, OptimizeSettings, Progress
from heartopt.optimize.file import JOURNAL_SUFFIX
from heartopt.report import figures

QUICK = ("--duration", 7.44, "--steps", 2)
#: What the fixture below makes of every run.
COMPARISON = {"num_steps": 1, "select_seeds": 1, "judge_seeds": 1}
#: The keys of a file's row.
KEYS = {field.name for field in dataclasses.fields(FileReport)}


@pytest.fixture(autouse=True)
def quick_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare under one seed each, with one Euler step: these tests are not about how good the tokens are."""
    monkeypatch.setattr(heartopt.optimize, "OptimizeSettings", functools.partial(OptimizeSettings, **COMPARISON))


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of six code frames, neighbours sharing two, whatever is asked for."""
    monkeypatch.setattr(HeartCodec, "window_plan", lambda self, duration=None: WindowPlan(codes=6, hop=4))


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
    assert set(row) == KEYS | {"start_audio"}
    assert row["notes"] == []
    for side in (row["start"], row["result"]):
        assert set(side) == {"stft", "mel", "shimmer_db", "tier"}
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
    heartopt,
    make_song,
    projection_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short_windows: None,
    name: str,
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


def test_one_bad_song_of_two(heartopt, make_song, projection_file: Path, tmp_path: Path, short_windows: None) -> None:
    make_song("in/good.wav", seconds=0.1)
    (tmp_path / "in/bad.flac").write_bytes(b"fLaC")
    args = ("--projection", projection_file, "--duration", 7.44, "--steps", 0, "--json")
    ran = heartopt("optimize", tmp_path / "in", "-o", tmp_path / "out", *args)
    assert ran.code == 3
    assert (len(ran.json["files"]), len(ran.json["failed"])) == (1, 1)
    assert ran.json["files"][0]["codes_changed"] == 0
    assert "error: " in ran.err and "1 of 2 files failed" in ran.err


@pytest.mark.parametrize("option", ["--overwrite", "--force"])
def test_songs_that_have_tokens_are_skipped(
    heartopt, make_song, projection_file: Path, tmp_path: Path, short_windows: None, option: str
) -> None:
    song, out = make_song(seconds=0.1), tmp_path / "out"
    args = ("optimize", song, "-o", out, "--projection", projection_file, "--steps", 0, "--json")
    (out / "song.tokens.npy").parent.mkdir()
    (out / "song.tokens.npy").write_bytes(b"hard work")
    ran = heartopt(*args)
    assert (ran.code, ran.json["files"], len(ran.json["skipped"])) == (0, [], 1)
    assert [path.read_bytes() for path in out.iterdir()] == [b"hard work"]
    ran = heartopt(*args, option)
    assert (ran.code, len(ran.json["files"]), ran.json["skipped"]) == (0, 1, [])
    assert np.load(out / "song.tokens.npy").shape[1] == 2


def test_what_a_stop_left_of_a_finished_song_is_cleared(heartopt, make_song, tmp_path: Path) -> None:
    song, out = make_song(seconds=0.1), tmp_path / "out"
    out.mkdir()
    tokens, journal = out / "song.tokens.npy", out / f"song{JOURNAL_SUFFIX}"
    tokens.write_bytes(b"hard work")
    journal.write_bytes(b"of a run that is going on, to replace the tokens")
    os.utime(tokens, (1, 1))
    assert heartopt("optimize", song, "-o", out).code == 0
    assert journal.exists()
    journal.write_bytes(b"of the run that wrote the tokens")
    os.utime(journal, (1, 1))
    assert heartopt("optimize", song, "-o", out).code == 0
    assert [path.name for path in out.iterdir()] == ["song.tokens.npy"]


def test_settings_that_make_no_sense(heartopt, make_song, projection_file: Path, tmp_path: Path) -> None:
    song = make_song(seconds=0.1)
    wrong = {
        ("--budget", 0): "budget",
        ("--budget", 60, "--steps", 3): "--steps and --budget",
        ("--duration", 8): "multiple of 7.44",
        ("--preset", "fast"): "--preset fast: choose from draft, standard, best",
        ("--objective", "flows"): "objective is 'flows': choose from flow, ode, hybrid",
        ("--quantizer", "hard"): "quantizer is 'hard': choose from straight-through",
        ("--init", "missing"): "--init missing: no such file or folder",
        ("--init", "projection", "--init", tmp_path / "no.tokens.npy"): "no.tokens.npy: no such file or folder",
    }
    for args, complaint in wrong.items():
        ran = heartopt("optimize", song, "-o", tmp_path / "out", "--projection", projection_file, *args)
        assert (ran.code, ran.out) == (2, "")
        assert complaint in ran.one_line_error()
        assert not (tmp_path / "out").exists()


# --- what the options become ---

Asked = list[dict[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, mini: HeartCodec) -> Asked:
    """What `optimize_file` is asked for; it does nothing."""
    calls: Asked = []

    def optimize_file(path: Path, **given: Any) -> FileReport:
        calls.append({"path": path, **given})
        figure = {"stft": 2.0, "mel": 0.5, "shimmer_db": 0.0}
        paths = {name: Path(f"{given['stem']}{suffix}") for name, suffix in (("tokens", ".npy"), ("audio", ".wav"))}
        counts = {"seconds": 1.0, "frames": 13, "steps": 3, "codes_changed": 1, "codes": 104, "windows": 1}
        times = {"windows_kept": 1, "wall_seconds": 1.0, "rtf": 1.0}
        notes = ("out of memory: going on with a smaller batch (3 times)",)
        return FileReport(input=path, **paths, **counts, **times, start=figure, result=figure, notes=notes)

    monkeypatch.setattr(heartopt.optimize, "optimize_file", optimize_file)
    monkeypatch.setattr(HeartCodec, "from_pretrained", lambda *args, **rest: mini)
    return calls


@pytest.fixture
def ask(heartopt, make_song, projection_file: Path, tmp_path: Path, asked: Asked) -> Callable[..., dict[str, Any]]:
    """`heartopt optimize song.wav ARGS…` and what it asks the library for."""
    song = make_song(seconds=0.1)

    def call(*args: object) -> dict[str, Any]:
        ran = heartopt("optimize", song, "-o", tmp_path / "out", "--projection", projection_file, *args)
        assert ran.code == 0, ran.err
        return asked.pop()

    return call


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_the_library_has(ask, preset: str) -> None:
    assert ask("--preset", preset)["settings"] == OptimizeSettings(**{**COMPARISON, **PRESETS[preset]})


def test_without_a_preset_it_is_the_standard_one(ask) -> None:
    assert ask()["settings"] == OptimizeSettings(**{**COMPARISON, **PRESETS["standard"]})


def test_options_win_over_the_preset(ask) -> None:
    options = {
        "objective": "flow",
        "quantizer": "gumbel",
        "steps": 7,
        "patience": 3,
        "moves": 2,
        "windows_at_once": 4,
        "duration": 14.88,
        "seed": 9,
    }
    flags = (part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value))
    given = ask("--preset", "best", *flags)
    assert given["settings"] == OptimizeSettings(**{**COMPARISON, **PRESETS["best"], **options})
    assert ask("--budget", 5)["settings"].budget == 5.0


def test_the_usual_start_is_the_projections(ask, projection_file: Path) -> None:
    given = ask()
    assert given["init"] == ["projection"]
    assert given["settings"].start == "tokens"
    assert (given["projection"].latent_dim, given["projection_name"]) == (256, str(projection_file))


def test_a_random_start_is_searched_from_a_random_place(ask) -> None:
    given = ask("--init", "random")
    assert (given["init"], given["settings"].start, given["projection"]) == (["random"], "random", None)
    given = ask("--init", "random", "--init", "projection")
    assert (given["init"], given["settings"].start) == (["random", "projection"], "tokens")
    assert given["projection"] is not None


def test_a_token_file_is_a_start(ask, make_tokens) -> None:
    tokens = make_tokens("elsewhere")
    given = ask("--init", tokens, "--init", "projection")
    assert given["init"] == [tokens, "projection"]
    assert given["settings"].start == "tokens"


def test_a_folder_has_each_songs_tokens_where_the_output_has_them(
    heartopt, make_song, asked: Asked, tmp_path: Path
) -> None:
    make_song("in/a.wav", seconds=0.1)
    make_song("in/deep/b.wav", seconds=0.1)
    (tmp_path / "starts").mkdir()
    ran = heartopt("optimize", tmp_path / "in", "-o", tmp_path / "out", "--init", tmp_path / "starts")
    assert ran.code == 0, ran.err
    starts = {given["path"].name: given["init"] for given in asked}
    assert starts == {
        "a.wav": [tmp_path / "starts/a.tokens.npy"],
        "b.wav": [tmp_path / "starts/deep/b.tokens.npy"],
    }


def test_one_token_file_for_two_songs_is_refused(
    heartopt, make_song, make_tokens, asked: Asked, tmp_path: Path
) -> None:
    songs, tokens = (make_song("a.wav", seconds=0.1), make_song("b.wav", seconds=0.1)), make_tokens("elsewhere")
    ran = heartopt("optimize", *songs, "-o", tmp_path / "out", "--init", tokens)
    assert (ran.code, ran.out, asked) == (2, "", [])
    assert "one token file for several songs" in ran.one_line_error()
    assert not (tmp_path / "out").exists()


def test_notes_are_told(heartopt, make_song, asked: Asked, tmp_path: Path) -> None:
    song = make_song(seconds=0.1)
    ran = heartopt("optimize", song, "-o", tmp_path / "out", "--init", "random", "--json")
    assert ran.json["files"][0]["notes"] == ["out of memory: going on with a smaller batch (3 times)"]
    assert f"note: {song}: out of memory: going on with a smaller batch (3 times)" in ran.err


def test_the_progress_line_tells_where_it_is() -> None:
    """Steps of all windows, those that are fitted together included; what was heard last stays."""
    updates: list[dict[str, Any]] = []

    class Bar:
        def add_task(self, *_: object, **__: object) -> int:
            return 1

        def remove_task(self, _: int) -> None:
            updates.append({"removed": True})

        def update(self, _: int, **told: Any) -> None:
            updates.append(told)

    facts = {"windows": 5, "steps": 10, "objective": "ode", "loss": 1.5, "changed": 0.25}
    with _SongBar(Bar(), "song.wav") as show:  # type: ignore[arg-type]
        show(Progress(window=0, together=1, step=4, stft=2.125, **facts))
        show(Progress(window=2, together=2, step=10, stft=None, **facts))
        show(Progress(window=4, together=1, step=10, stft=None, **facts))
    assert [(told["completed"], told["total"]) for told in updates[:3]] == [(4, 50), (40, 50), (50, 50)]
    assert updates[0]["detail"] == "window 1 of 5, ode loss 1.500, STFT 2.125, 25 % of codes moved"
    assert updates[1]["detail"].startswith("windows 3-4 of 5, ode loss 1.500, STFT 2.125")
    assert updates[0]["description"] == "optimizing song.wav"
    assert updates[2]["description"] == "comparing song.wav"
    assert updates[3] == {"removed": True}


# --- starts and pictures, really ---


def test_tokens_of_before_are_a_start_for_another_run(
    heartopt, make_song, mini: HeartCodec, tmp_path: Path, short_windows: None
) -> None:
    """Random codes first; then a folder of them, where one song's are missing and another's are not its own."""
    songs = [make_song(f"in/{name}.wav", seconds=0.2) for name in ("a", "b", "c")]
    first = heartopt("optimize", *songs[:2], "-o", tmp_path / "one", "--init", "random", "--steps", 0, "--json")
    assert first.code == 0, first.err
    for row in first.json["files"]:
        info = json.loads(Path(row["tokens"]).with_suffix(".json").read_text())
        assert (info["settings"]["init"], info["settings"]["start"], info["projection"]) == (["random"], "random", None)
    info_file = tmp_path / "one/b.tokens.json"
    info_file.write_text(json.dumps({**json.loads(info_file.read_text()), "fingerprint": "0" * 64}))
    args = ("--init", tmp_path / "one", "--steps", 0, "--json")
    ran = heartopt("optimize", tmp_path / "in", "-o", tmp_path / "two", *args)
    assert ran.code == 3
    assert [row["input"] for row in ran.json["files"]] == [str(songs[0])]
    errors = {Path(failure["input"]).name: failure["error"] for failure in ran.json["failed"]}
    assert "another codec" in errors["b.wav"]
    assert "no such token file" in errors["c.wav"]
    start, result = (np.load(tmp_path / folder / "a.tokens.npy") for folder in ("one", "two"))
    assert start.shape == result.shape
    assert ran.json["files"][0]["codes_changed"] == (start != result).sum()


def test_a_picture_is_written_beside_the_tokens(
    heartopt, make_song, projection_file: Path, tmp_path: Path, short_windows: None
) -> None:
    pytest.importorskip("matplotlib")
    song, out = make_song("in/a [b].wav", seconds=0.6), tmp_path / "out"
    args = ("--projection", projection_file, "--preset", "draft", "--steps", 2, "--plots", "--json")
    ran = heartopt("optimize", song, "-o", out, *args)
    assert ran.code == 0, ran.err
    (row,) = ran.json["files"]
    assert set(row) == KEYS | {"plot"}
    assert row["plot"] == str(out / "a [b].optimize.png")
    assert Path(row["plot"]).read_bytes().startswith(b"\x89PNG")
    assert row["windows"] == 2
    assert not list(out.glob(f"*{JOURNAL_SUFFIX}"))


def test_a_picture_without_matplotlib_is_an_error_before_any_work(
    heartopt, make_song, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    ran = heartopt("optimize", make_song(seconds=0.1), "-o", tmp_path / "out", "--plots")
    assert (ran.code, asked) == (1, [])
    assert "heartopt[report]" in ran.one_line_error()
    assert not (tmp_path / "out").exists()


def test_a_silent_song_has_no_figures(heartopt, tmp_path: Path, projection_file: Path, short_windows: None) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((20_000, 2)), 48_000)
    args = ("--projection", projection_file, "--steps", 1)
    ran = heartopt("optimize", tmp_path / "song.wav", "-o", tmp_path / "out", *args, "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.json["files"]
    assert row["start"] == row["result"] == {"stft": None, "mel": None, "shimmer_db": None, "tier": "unknown"}
    ran = heartopt("optimize", tmp_path / "song.wav", "-o", tmp_path / "out", *args, "--force")
    assert ran.code == 0, ran.err
