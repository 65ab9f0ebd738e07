from __future__ import annotations

import math
from dataclasses import replace

import pytest

from heartopt.evaluation import Evaluation
from heartopt.evaluation.results import differences, summarize
from heartopt.metrics import METRICS
from heartopt.report.tables import (
    FAMILIES,
    cell,
    control_figures,
    difference_table,
    doubts,
    family_tables,
    file_table,
    fixed,
    summary_table,
    tier_words,
    worst_table,
)


def test_summary_has_systems_first_then_controls(evaluation: Evaluation) -> None:
    table = summary_table(evaluation)
    assert table.headings == ("system", "tier", "stft (↓)", "si_sdr (dB ↑)", "pesq_wb (MOS ↑)")
    assert [row[0] for row in table.rows] == ["projection", "optimized", "control: silence"]
    assert table.rows[0][1:] == ("Fair", "2.60 [2.50, 2.70]", "–", "not installed")
    assert table.rows[2][1] == "Poor"
    assert table.title == "Means over 2 files [95 % bootstrap interval]"


def test_a_system_that_a_control_reaches_is_in_doubt(evaluation: Evaluation) -> None:
    rows = tuple({**row, "stft": 6.0} if row["system"] == "optimized" else row for row in evaluation.rows)
    marked = replace(evaluation, rows=rows, summary=summarize(rows, seed=0))
    assert [row[1] for row in summary_table(marked).rows] == ["Fair", "Poor, in doubt", "Poor"]
    assert str(doubts(marked)).startswith("In doubt") and str(doubts(marked)).endswith(": optimized (silence)")
    assert doubts(evaluation) is None


def test_one_file_tells_nothing_from_a_control(evaluation: Evaluation) -> None:
    rows = evaluation.rows[:3]
    assert "One file has no interval" in str(doubts(replace(evaluation, rows=rows, summary=summarize(rows, seed=0))))
    rows = rows[1:]  # no control
    assert doubts(replace(evaluation, rows=rows, summary=summarize(rows, seed=0))) is None


def test_a_mean_over_fewer_files_says_so(evaluation: Evaluation) -> None:
    rows = evaluation.rows[:-1]  # the second file has no result of `optimized`
    table = summary_table(replace(evaluation, rows=rows, summary=summarize(rows, seed=0)))
    assert table.rows[1][2] == "1.50 (n 1)" and table.rows[0][2] == "2.60 [2.50, 2.70]"


def test_every_metric_is_in_one_family() -> None:
    listed = [name for names in FAMILIES.values() for name in names]
    assert sorted(listed) == sorted(METRICS)


def test_families_that_were_not_measured_are_left_out(evaluation: Evaluation) -> None:
    assert family_tables(evaluation) == ()
    rows = tuple({**row, "lsd": 9.0, "stoi": 0.5} for row in evaluation.rows)
    found = family_tables(replace(evaluation, rows=rows, summary=summarize(rows, seed=0)))
    assert [table.title for table in found] == ["Spectrum", "Predicted opinion"]
    assert found[0].headings == ("system", "lsd (dB ↓)")


def test_file_table_has_every_row(evaluation: Evaluation) -> None:
    table = file_table(evaluation)
    assert len(table.rows) == 6
    assert table.rows[2] == ("a.wav", "optimized", "Good", "1.50", "–", "not installed")
    noted = replace(evaluation, rows=({**evaluation.rows[0], "note": "cut by 3 samples"}, *evaluation.rows[1:]))
    assert file_table(noted).headings[-1] == "note"
    assert [row[-1] for row in file_table(noted).rows[:2]] == ["cut by 3 samples", ""]


def test_differences_have_a_verdict(evaluation: Evaluation) -> None:
    table = difference_table(evaluation, metrics=("stft", "rtf", "usage"))
    assert table is not None
    assert table.headings == ("system", "metric", "difference", "interval", "verdict", "effect d", "p")
    found = {row[1]: row[2:] for row in table.rows}
    effect = f"{-0.9 / (0.2 / 2**0.5):+.2f}"
    assert found["stft"] == ("-0.900", "[-1.000, -0.800]", "better", effect, "0.500")
    assert found["rtf"][:3] == ("+0.0000", "[+0.0000, +0.0000]", "includes 0")
    assert found["usage"][2] == "higher"  # which is neither better nor worse


def test_a_verdict_knows_which_way_is_better(evaluation: Evaluation) -> None:
    rows = tuple(
        {**row, "si_sdr": {"projection": 5.0, "optimized": 3.0, "silence": 0.0}[row["system"]] + place / 10}
        for place, row in enumerate(evaluation.rows)
    )
    table = difference_table(replace(evaluation, differences=differences(rows, seed=0)), metrics=("si_sdr",))
    assert table is not None and table.rows[0][4] == "worse"


def test_differences_over_other_numbers_of_files_are_counted(evaluation: Evaluation) -> None:
    rows = tuple({**row, "mel": 0.1} if row["file"] == "a.wav" else row for row in evaluation.rows)
    table = difference_table(replace(evaluation, differences=differences(rows, seed=0)), metrics=("stft", "mel"))
    assert table is not None and table.headings[-1] == "files"
    assert {row[1]: row[-1] for row in table.rows} == {"stft": "2", "mel": "1"}
    assert {row[1]: row[3] for row in table.rows}["mel"] == "unknown (one file)"


def test_some_metrics_may_be_left_out(evaluation: Evaluation) -> None:
    table = difference_table(evaluation, without=("stft",))
    assert table is None or "stft" not in {row[1] for row in table.rows}


def test_worst_files_are_named_with_their_value(evaluation: Evaluation) -> None:
    table = worst_table(evaluation)
    assert table is not None
    assert table.rows[0] == ("projection", "<img onerror=alert(1)>|[red]x.wav: 2.70")
    assert len(table.rows) == 2


def test_tables_of_nothing_are_none() -> None:
    empty = Evaluation("none", (), (), (), (), {})
    assert difference_table(empty) is None and worst_table(empty) is None and doubts(empty) is None
    assert control_figures(empty) == () and family_tables(empty) == ()


def test_controls_fall_where_they_fall(evaluation: Evaluation) -> None:
    assert control_figures(evaluation) == (("silence", 6.0),)
    words = tier_words(evaluation)
    assert "Excellent below 1; Good from 1 to below 2; Fair from 2 to 3; Poor above 3." in words
    assert words.endswith("Controls here: silence 6.00.")


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [(1.2345, "stft", "1.23"), (1.2345, "rtf", "1.234"), (-3.21, "si_sdr", "-3.2"), (None, "mel", "–")],
)
def test_cells(value: float | None, metric: str, text: str) -> None:
    assert cell(value, metric) == text
    assert cell(math.nan, metric) == "–" and cell("not installed", metric) == "not installed"


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(-0.001, "", "0.00"), (-0.001, "+", "+0.00"), (0.0, "+", "+0.00"), (-0.005001, "", "-0.01"), (math.inf, "", "–")],
)
def test_nothing_is_a_negative_zero(value: float, sign: str, text: str) -> None:
    assert fixed(value, 2, sign=sign) == text
