from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartopt.errors import HeartoptError
from heartopt.training.history import MOST_POINTS, MOST_TERMS, History, Series, read_history

STEP = {"kind": "step", "step": 10, "epoch": 0.5, "loss": 2.0, "terms": {"flow": 1.5}, "usage": [30, 10]}


def series(values: list[float]) -> Series:
    made = Series()
    for index, value in enumerate(values):
        made.add(float(index), value)
    return made


@given(st.integers(0, 12 * MOST_POINTS))
def test_a_series_of_any_length_stays_small_and_keeps_its_place(length: int) -> None:
    made = series([float(k) for k in range(length)])
    epochs, values = made.points()
    assert len(epochs) == len(values) <= MOST_POINTS
    assert len(values) >= min(length, MOST_POINTS // 2)
    assert values == epochs == sorted(epochs)  # an average lies where what it averages lies
    if length:
        assert made.lowest == (0.0, 0.0) and epochs[-1] >= length * (1 - 2 / MOST_POINTS) - 1


def test_a_short_series_is_kept_as_it_is() -> None:
    made = series([3.0, math.nan, 1.0])
    epochs, values = made.points()
    assert epochs == [0.0, 1.0, 2.0] and values[::2] == [3.0, 1.0] and math.isnan(values[1])
    assert made.lowest == (2.0, 1.0)


def test_nan_counts_as_none_in_averages() -> None:
    _, values = series([math.nan if k % 2 else 5.0 for k in range(2 * MOST_POINTS)]).points()
    assert set(values) == {5.0}
    assert not series([math.nan]) and series([0.0])


def test_lines_become_curves(tmp_path: Path) -> None:
    records: list[Any] = [
        {"kind": "validation", "step": 0, "epoch": 0.0, "flow": 3.0, "commitment": 0.5},
        STEP,
        STEP | {"step": 20, "epoch": 1.0, "loss": None, "skipped": True},
        {"kind": "clips", "step": 20, "epoch": 1.0, "metrics": {"stft": 1.7, "pesq_wb": "not installed"}},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    history = read_history(path)
    assert history.held_out["flow"].points() == ([0.0], [3.0])
    assert history.steps["usage"].points() == ([0.5, 1.0], [20.0, 20.0])
    assert history.terms["flow"].points() == ([0.5, 1.0], [1.5, 1.5])
    assert history.steps["loss"].points()[1][0] == 2.0 and math.isnan(history.steps["loss"].points()[1][1])
    assert dict(history.clips).keys() == {"stft"}
    assert (history.step, history.epoch, history.skipped) == (20, 1.0, 1)


DAMAGED = [
    "",
    "{",
    '{"kind": "step", "step": 11, "ep',
    "null",
    "[1, 2]",
    "3",
    "[" * 100_000,
    '{"kind": "step", "step": 11}',
    '{"kind": "step", "step": "x", "epoch": 1}',
    '{"kind": "song", "step": 12, "epoch": 7}',
    '{"kind": "step", "step": 11, "epoch": ' + "9" * 5000 + "}",
    '{"kind": "step", "step": 11, "epoch": Infinity}',
    "\ufffd\x00",
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_lines_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(f"{line}\n{json.dumps(STEP)}\n{line}".encode() + b"\n\xff\xfe\n")
    history = read_history(path)
    assert history.steps["loss"].points() == ([0.5], [2.0])
    assert (history.step, history.epoch) == (10, 0.5)


def test_entries_of_a_wrong_type_are_gaps() -> None:
    history = History()
    history.add({"kind": "step", "step": 1, "epoch": 1, "loss": "low", "terms": [1], "usage": {"a": 1}})
    history.add({"kind": "clips", "step": 1, "epoch": 1, "metrics": None})
    assert not history.steps["loss"] and not history.steps["usage"] and not history.terms and not history.clips


def test_names_are_bounded() -> None:
    history = History()
    history.add({"kind": "step", "step": 1, "epoch": 1, "terms": {f"term{k}": 1.0 for k in range(1000)}})
    assert len(history.terms) == MOST_TERMS


def test_no_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(HeartoptError, match=r"metrics\.jsonl: cannot be read"):
        read_history(tmp_path / "metrics.jsonl")
