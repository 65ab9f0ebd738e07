from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest

from heartopt.errors import OutputError
from heartopt.training.data import Skipped
from heartopt.training.loop import StepRecord
from heartopt.training.watch import LOGGER, Metrics, log_file, note_step, write_skipped


def record(step: int, *, skipped: bool = False) -> StepRecord:
    loss = math.nan if skipped else 1.0
    return StepRecord(step, 100, 0.5, loss, {"flow": loss, "l2": 0.1}, 1e-3, 2.0, (3, 4), skipped, 0.1, 1.9)


def test_due_and_skipped_steps_are_written_as_plain_json(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, step=0)
    for step in range(1, 22):
        note_step(record(step, skipped=step == 13), metrics)
    lines = [json.loads(line) for line in metrics.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 10, 13, 20]
    assert [line["loss"] for line in lines] == [1.0, 1.0, None, 1.0]
    assert [line["terms"]["flow"] for line in lines] == [1.0, 1.0, None, 1.0]
    assert lines[0]["kind"] == "step"


def test_resuming_drops_later_and_half_written_lines(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, step=0)
    for step in (10, 20, 30):
        metrics.write(record(step))
    with metrics.path.open("a") as file:
        file.write('{"step": 31, "lo')
    resumed = Metrics(tmp_path, step=20)
    assert [json.loads(line)["step"] for line in resumed.path.read_text().splitlines()] == [10, 20]


def test_the_log_is_appended_while_the_block_runs(tmp_path: Path) -> None:
    level = LOGGER.level
    for word in ("first", "second"):
        with log_file(tmp_path / "run"):
            LOGGER.info(word)
    LOGGER.log(logging.ERROR, "outside")
    lines = (tmp_path / "run" / "training.log").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "second"]
    assert LOGGER.level == level


def test_a_log_that_cannot_be_written_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_text: str) -> None:
        raise OSError(28, "No space left on device")

    with log_file(tmp_path):
        (handler,) = (one for one in LOGGER.handlers if isinstance(one, logging.FileHandler))
        handler.stream.write = full  # type: ignore[method-assign, union-attr]
        LOGGER.warning("unheard")
    assert "Traceback" not in capsys.readouterr().err


def test_nothing_stays_of_a_log_that_said_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in ("there/run", "there"):
        with log_file(tmp_path / folder):
            pass
        assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_only_the_main_process_keeps_a_log(tmp_path: Path) -> None:
    with log_file(tmp_path / "run", main=False):
        LOGGER.warning("unheard")
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write into"), log_file(tmp_path / "file"):
        pass


def test_a_name_that_is_too_long_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write into"), log_file(tmp_path / ("x" * 300)):
        pass


def test_skipped_files_are_listed_a_line_each(tmp_path: Path) -> None:
    write_skipped(tmp_path, [Skipped(Path("a.wav"), "a.wav: silent"), Skipped(Path("b.wav"), "two\nlines")])
    assert (tmp_path / "skipped.tsv").read_text() == "path\treason\na.wav\tsilent\nb.wav\ttwo lines\n"
