"""Several processes: the same results, and what becomes of one that dies."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError
from heartopt.evaluation import Progress, evaluate
from heartopt.projection import EncoderProjection

FUNCTIONS = """
import os
def half(song):
    print("to standard output")
    return song.audio * 0.5
def dies(song):
    if song.name == "b.flac":
        os._exit(9)
    return song.audio * 0.5
"""
MEASURED_TIMES = ("wall_seconds", "rtf", "tokens_per_second", "peak_mb")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As many threads as each of several processes gets: the last digits of sums hang on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in MEASURED_TIMES}


def test_two_processes_find_what_one_finds(
    codec: HeartCodec,
    projection: EncoderProjection,
    module: Callable[[str], str],
    songs: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (songs / "c.wav").write_text("no audio")
    systems = ["projection", f"half=python:{module(FUNCTIONS)}.half", "noise", "another_song", "mp3:64"]
    seen: list[Progress] = []

    def run(jobs: int, progress: Callable[[Progress], None] | None = None) -> Any:
        quick: dict[str, Any] = {"duration": 7.44, "num_steps": 1, "guidance_scale": 1.0, "seeds": [1]}
        return evaluate(
            codec=codec,
            projection=projection,
            files=[songs],
            systems=systems,
            metrics=["stft", "si_sdr"],
            jobs=jobs,
            progress=progress,
            **quick,
        )

    one = run(1)
    capfd.readouterr()
    two = run(2, seen.append)
    assert [without_times(row) for row in two.rows] == [without_times(row) for row in one.rows]
    assert two.failed == one.failed and [entry.file for entry in two.failed] == ["b.flac", "c.wav"]
    assert two.corpus == one.corpus and two.songs == one.songs
    assert {entry.total for entry in seen} == {15} and (seen[-1].done, seen[-1].file) == (15, "")
    assert {(entry.file, entry.system) for entry in seen[:-1]} == {
        (file, system.partition("=")[0]) for file in ("a.wav", "b.flac") for system in systems
    }
    assert [entry.done for entry in seen] == sorted(entry.done for entry in seen)
    captured = capfd.readouterr()
    assert "to standard output" not in captured.out and "to standard output" in captured.err
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_an_error_and_what_is_finished_is_kept(
    codec: HeartCodec, module: Callable[[str], str], songs: Path, tmp_path: Path
) -> None:
    name = module(FUNCTIONS)
    common: dict[str, Any] = {
        "codec": codec,
        "files": [songs],
        "metrics": ["si_sdr"],
        "embedder": None,
        "cache": tmp_path / "cache",
    }
    with pytest.raises(HeartoptError, match=r"died at b\.flac \(exit code 9\), perhaps out of memory; .*fewer --jobs"):
        evaluate(systems=["silence", f"own=python:{name}.dies"], jobs=2, **common)
    assert multiprocessing.active_children() == []
    kept = list((tmp_path / "cache" / "measured").rglob("*.json"))
    assert len(kept) >= 1


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_processes_are_refused(jobs: int, codec: HeartCodec, songs: Path) -> None:
    with pytest.raises(ConfigError, match="give at least 1"):
        evaluate(codec=codec, files=[songs], systems=["silence"], metrics=["si_sdr"], jobs=jobs)


def test_a_codec_that_is_nowhere_on_the_disk_stays_in_its_process(
    codec: HeartCodec, songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "folder", None)
    with pytest.raises(ConfigError, match="use --jobs 1"):
        evaluate(codec=codec, files=[songs], systems=["silence"], metrics=["si_sdr"], jobs=2)
