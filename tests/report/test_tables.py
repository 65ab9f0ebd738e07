from __future__ import annotations

import math

import pytest

from heartopt.evaluation import Evaluation
from heartopt.report.tables import cell, control_figures, difference_table, file_table, level_table, summary_table


def test_summary_has_systems_first_then_controls(evaluation: Evaluation) -> None:
    table = summary_table(evaluation)
    assert table.headings == ("system", "tier", "stft (↓)", "si_sdr (dB ↑)", "pesq_wb (MOS ↑)", *table.headings[5:])
    assert table.headings[5:] == ("usage (share)", "perplexity (codes)", "rtf (× ↓)")
    assert [row[0] for row in table.rows] == ["projection", "optimized", "control: silence"]
    assert table.rows[0][1:5] == ("Fair", "2.60 [2.50, 2.70]", "–", "not installed")
    assert table.rows[2][1] == "Poor" and table.rows[2][5] == "–"
    assert table.title == "Means over 2 files [95 % bootstrap interval]"


def test_file_table_has_every_row(evaluation: Evaluation) -> None:
    table = file_table(evaluation)
    assert len(table.rows) == 6
    assert table.rows[2][:6] == ("a.wav", "optimized", "Good", "1.50", "–", "not installed")
    assert all(len(row) == len(table.headings) for row in table.rows)


def test_differences_say_when_they_are_not_clear(evaluation: Evaluation) -> None:
    table = difference_table(evaluation)
    assert table is not None
    found = {row[1]: row for row in table.rows}
    assert found["stft"] == ("optimized", "stft", "-0.90", "[-1.00, -0.80]")
    assert found["rtf"] == ("optimized", "rtf", "+0.000", "[+0.000, +0.000] includes 0")


def test_levels_are_those_of_systems_with_tokens(evaluation: Evaluation) -> None:
    table = level_table(evaluation)
    assert table is not None
    assert table.headings == ("system", "level 1")
    assert table.rows == (("projection", "0.250 / 20.0"), ("optimized", "0.500 / 20.0"))


def test_tables_of_nothing_are_none() -> None:
    empty = Evaluation("none", (), (), (), (), {})
    assert difference_table(empty) is None and level_table(empty) is None and control_figures(empty) == ()


def test_controls_fall_where_they_fall(evaluation: Evaluation) -> None:
    assert control_figures(evaluation) == (("silence", 6.0),)


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [(1.2345, "stft", "1.23"), (1.2345, "rtf", "1.234"), (-3.21, "si_sdr", "-3.2"), (None, "mel", "–")],
)
def test_cells(value: float | None, metric: str, text: str) -> None:
    assert cell(value, metric) == text
    assert cell(math.nan, metric) == "–" and cell("not installed", metric) == "not installed"
