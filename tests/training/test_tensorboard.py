from __future__ import annotations

import logging
import math
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from heartopt.training.clips import ClipsRecord
from heartopt.training.loop import StepRecord
from heartopt.training.tensorboard import FOLDER, Board, scalars
from heartopt.training.validation import ValidationRecord

LOGGER = "heartopt.training.tensorboard"


def step(number: int, *, loss: float = 1.5, skipped: bool = False) -> StepRecord:
    terms = {"flow": loss, "commitment": 0.25}
    return StepRecord(number, 100, number / 10, loss, terms, 1e-3, 2.0, (30, 10), skipped, 0.5, 40.0)


def validation(number: int, flow: float) -> ValidationRecord:
    return ValidationRecord(number, number / 10, flow, 0.1, (100, 50), (60.0, 20.0), True)


CLIPS = ClipsRecord(
    20, 2.0, {"stft": 1.75, "mel": 0.5}, "Good", True, ({"clip": "song", "stft": 1.75, "pesq_wb": "not installed"},),
    {"stft": 1.5},
)  # fmt: skip


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / FOLDER), size_guidance={"scalars": 0})
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(point.step, point.value) for point in events.Scalars(name)] for name in names}


def test_all_kinds_of_records_are_shown(tmp_path: Path) -> None:
    with Board(tmp_path, step=0) as board:
        for record in (validation(0, 2.0), step(1), step(2), step(10), step(13, loss=math.nan, skipped=True), CLIPS):
            board.write(record)
    shown = read(tmp_path)
    assert shown["train/loss"] == [(1, 1.5), (10, 1.5)]
    assert shown["train/skipped"] == [(1, 0.0), (10, 0.0), (13, 1.0)]
    assert shown["terms/commitment"] == [(1, 0.25), (10, 0.25), (13, 0.25)]
    assert shown["usage_in_a_batch/mean"][0] == (1, 20.0) and shown["usage_in_a_batch/level_2"][0] == (1, 10.0)
    assert shown["train/audio_seconds_per_second"][0] == (1, 80.0)
    assert shown["held_out/flow"] == [(0, 2.0)] and shown["held_out_perplexity/mean"] == [(0, 40.0)]
    assert shown["clips/stft"] == [(20, 1.75)] and shown["clips_deshimmered/stft"] == [(20, 1.5)]
    assert shown["clip_song/stft"] == [(20, 1.75)] and "clip_song/pesq_wb" not in shown


@pytest.mark.parametrize(("start", "kept"), [(20, [0, 10, 20]), (0, [])])
def test_a_resumed_run_hides_what_it_writes_again_and_a_new_one_all(
    tmp_path: Path, start: int, kept: list[int]
) -> None:
    with Board(tmp_path, step=0) as board:
        for number in (0, 10, 20, 30, 40):
            board.write(validation(number, 2.0))
    again = [number for number in (0, 10, 20, 30) if number > start or not start]
    second = int(time.time())
    while int(time.time()) == second:  # which names the files, and they are read in the order of their names
        time.sleep(0.02)
    with Board(tmp_path, step=start) as board:
        for number in again:
            board.write(validation(number, 1.0))
    assert read(tmp_path)["held_out/flow"] == [(k, 2.0) for k in kept] + [(k, 1.0) for k in again]


def test_without_the_package_it_says_so_once_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with caplog.at_level(logging.INFO, LOGGER), Board(tmp_path, step=0) as board:
        board.write(step(1))
        board.write(CLIPS)
    (line,) = caplog.messages
    assert "heartopt[watch]" in line and "\n" not in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / FOLDER).write_text("")
    with Board(tmp_path, step=0) as board:
        board.write(step(1))
    (line,) = caplog.messages
    assert line.startswith("no more TensorBoard files: ")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_stops_nothing_and_prints_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    writer = pytest.importorskip("tensorboard.summary.writer.record_writer")
    hook = threading.excepthook

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with Board(tmp_path, step=0) as board:
        board.write(step(1))
        monkeypatch.setattr(writer.RecordWriter, "write", full)
        for number in range(10, 60, 10):
            board.write(validation(number, 1.0))
    assert caplog.messages == ["no more TensorBoard files: No space left on device"]
    assert capfd.readouterr().err == ""
    assert threading.excepthook is hook


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    with Board(tmp_path, step=0) as board:
        for record in ({}, {"kind": "step"}, {"kind": "step", "step": 10}, {"kind": "clips", "step": 1, "metrics": 3}):
            board.write(record)
    assert dict(scalars({"kind": "validation", "flow": math.nan})) == {}
