"""The table: units and directions in words, values to sort by, and who is best."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from heartopt.metrics import METRICS, Quantity
from heartopt.report.listening import Excerpt, Take
from heartopt.report.listening.table import MISSING, make_table

QUANTITIES = {
    "low": Quantity("low", "About low.", "dB", "lower", 1),
    "high": Quantity("high", "About high", "", "higher", 0),
    "zero": Quantity("zero", "About zero.", "share", "zero", 3),
}
AUDIO = torch.zeros(1, 10)


def table(*metrics: Mapping[str, float | str | None], control: int | None = None):  # type: ignore[no-untyped-def]
    takes = [Take(str(index), AUDIO, found, control=index == control) for index, found in enumerate(metrics)]
    return make_table([Excerpt("a", "A", AUDIO, takes)], QUANTITIES)


def test_headings_say_unit_and_direction() -> None:
    low, high, zero, other = table({"low": 1.0, "high": 1.0, "zero": 1.0, "other": 1.0}).columns
    assert (low.note, low.about, low.better) == ("dB ↓", "About low. Lower is better", "lower")
    assert (high.note, high.about, high.better) == ("↑", "About high. Higher is better", "higher")
    assert (zero.note, zero.better) == ("share → 0", "zero")
    assert (other.name, other.note, other.about, other.blind, other.better) == ("other", "", "", "", "")


def test_headings_say_what_a_metric_is_blind_to() -> None:
    found = make_table([Excerpt("a", "A", AUDIO, [Take("x", AUDIO, {"stft": 1.0, "usage_3": 0.5})])], METRICS)
    assert found.columns[0].blind == METRICS["stft"].blind.replace("`", "") != ""
    assert "level 3" in found.columns[1].about  # unknown to the metrics, but not to heartopt


def test_cells_have_decimals_and_unrounded_values() -> None:
    (row,) = table({"low": -1.25, "high": 3.6, "zero": float("nan"), "other": None, "word": "not installed"}).rows
    assert [cell.text for cell in row.cells] == ["−1.2", "4", MISSING, MISSING, "not installed"]
    assert [cell.value for cell in row.cells] == ["-1.25", "3.6", "", "", ""]


def test_the_best_of_the_systems_is_marked() -> None:
    rows = table(
        {"low": 0.0, "high": 9.0, "zero": 0.0, "other": 1.0},
        {"low": 1.0, "high": 2.0, "zero": -0.1, "other": 2.0},
        {"low": 2.0, "high": 3.0, "zero": 0.5, "other": 3.0},
        {"low": 2.0, "high": 3.2},
        control=0,
    ).rows
    assert [[cell.best for cell in row.cells] for row in rows] == [
        [False, False, False, False],
        [True, False, True, False],
        [False, True, False, False],
        [False, True, False, False],  # the same, as it is shown
    ]


def test_as_near_to_zero_from_either_side_is_as_good_and_zero_has_no_sign() -> None:
    rows = table({"zero": -0.3}, {"zero": 0.3}, {"zero": 1.0}).rows
    assert [row.cells[0].best for row in rows] == [True, True, False]
    (row,) = table({"low": -0.04}).rows
    assert row.cells[0].text == "0.0"


def test_a_single_system_is_not_best() -> None:
    (row,) = table({"low": 1.0}).rows
    assert not row.cells[0].best


def test_rows_know_their_place() -> None:
    takes = (Take("x", AUDIO, {}), Take("y", AUDIO, {"low": 1.0}))
    found = make_table([Excerpt("a", "A", AUDIO, takes), Excerpt("b", "B", AUDIO, takes[:1])], QUANTITIES)
    assert [(row.excerpt, row.take) for row in found.rows] == [(0, 1), (0, 2), (1, 1)]
    assert [cell.text for cell in found.rows[0].cells] == [MISSING]
