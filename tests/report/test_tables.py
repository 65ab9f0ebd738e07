from __future__ import annotations

import math
from dataclasses import replace

import pytest

from heartopt.evaluation import Evaluation
from heartopt.evaluation.results import summarize
from heartopt.metrics import METRICS
from heartopt.report.tables import (
    FAMILIES,
    cell,
    control_figures,
    corpus_table,
    cost_table,
    difference_table,
    family_tables,
    file_table,
    level_table,
    not_told_apart,
    summary_table,
    worst_table,
)


def test_summary_has_systems_first_then_controls(evaluation: Evaluation) -> None:
    table = summary_table(evaluation)
    assert table.headings == ("system", "tier", "stft (↓)", "si_sdr (dB ↑)", "pesq_wb (MOS ↑)")
    assert [row[0] for row in table.rows] == ["projection", "optimized", "control: silence"]
    assert table.rows[0][1:] == ("Fair", "2.60 [2.50, 2.70]", "–", "not installed")
    assert table.rows[2][1] == "Poor"
    assert table.title == "Means over 2 files [95 % bootstrap interval]"


def test_a_system_that_a_control_reaches_is_marked(evaluation: Evaluation) -> None:
    rows = tuple({**row, "stft": 6.0} if row["system"] == "optimized" else row for row in evaluation.rows)
    marked = replace(evaluation, rows=rows, summary=summarize(rows, seed=0))
    assert [row[1] for row in summary_table(marked).rows] == ["Fair", "Poor (like silence)", "Poor"]
    (sentence,) = not_told_apart(marked)
    assert sentence.startswith("optimized is not clearly better than silence")
    assert not_told_apart(evaluation) == ()


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


def test_differences_say_when_they_are_not_clear(evaluation: Evaluation) -> None:
    table = difference_table(evaluation, metrics=("stft", "rtf"))
    assert table is not None
    found = {row[1]: row for row in table.rows}
    assert found["stft"][:4] == ("optimized", "stft", "-0.900", "[-1.000, -0.800]")
    assert found["stft"][4] == f"{-0.9 / (0.2 / 2**0.5):+.2f}" and found["stft"][5] == "0.500"
    assert found["rtf"][2:4] == ("+0.0000", "[+0.0000, +0.0000] includes 0")
    assert table.headings[-2:] == ("effect d", "p")


def test_what_is_counted_over_the_suite(evaluation: Evaluation) -> None:
    table = corpus_table(evaluation)
    assert table is not None
    assert table.headings[:3] == ("system", "usage (share)", "perplexity (codes)") and table.headings[-1] == "fad (↓)"
    assert table.rows[0] == ("projection", "0.500", "20.0", "3.00", "4", "300", "0.250")
    assert table.rows[-1][0] == "control: silence" and table.rows[-1][1] == "–"


def test_levels_are_those_of_systems_with_tokens(evaluation: Evaluation) -> None:
    table = level_table(evaluation)
    assert table is not None
    assert table.headings == ("system", "quantity", "level 1")
    assert table.rows[:2] == (("projection", "usage (share)", "0.500"), ("projection", "perplexity (codes)", "20.0"))
    assert {row[0] for row in table.rows} == {"projection", "optimized"}


def test_worst_files_are_named_with_their_value(evaluation: Evaluation) -> None:
    table = worst_table(evaluation)
    assert table is not None
    assert table.rows[0] == ("projection", "<img onerror=alert(1)>|[red]x.wav: 2.70")
    assert len(table.rows) == 2


def test_cost_is_that_of_systems(evaluation: Evaluation) -> None:
    table = cost_table(evaluation)
    assert table is not None
    assert table.headings == ("system", "rtf (× ↓)")
    assert table.rows == (("projection", "0.500"), ("optimized", "0.500"))


def test_tables_of_nothing_are_none() -> None:
    empty = Evaluation("none", (), (), (), (), {})
    for table in (difference_table, level_table, corpus_table, cost_table, worst_table):
        assert table(empty) is None
    assert control_figures(empty) == () and family_tables(empty) == ()


def test_controls_fall_where_they_fall(evaluation: Evaluation) -> None:
    assert control_figures(evaluation) == (("silence", 6.0),)


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [(1.2345, "stft", "1.23"), (1.2345, "rtf", "1.234"), (-3.21, "si_sdr", "-3.2"), (None, "mel", "–")],
)
def test_cells(value: float | None, metric: str, text: str) -> None:
    assert cell(value, metric) == text
    assert cell(math.nan, metric) == "–" and cell("not installed", metric) == "not installed"
