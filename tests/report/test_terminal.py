from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from heartopt.evaluation import Evaluation
from heartopt.evaluation.results import summarize
from heartopt.report.terminal import render


def printed(evaluation: Evaluation, width: int = 200) -> str:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(render(evaluation))
    return text.getvalue()


def test_shows_means_differences_and_failures(evaluation: Evaluation) -> None:
    text = printed(evaluation)
    assert "1.70 [1.50, 1.90]" in text and "control: silence" in text
    assert "[-1.000, -0.800]" in text
    assert "failed: c.wav (optimized): c.wav: truncated" in text and "failed: d.wav: d.wav: empty" in text


def test_nothing_but_failures_is_no_table(evaluation: Evaluation) -> None:
    text = printed(Evaluation("own", (), (), (), evaluation.failed, {}))
    assert text.splitlines()[0].startswith("failed: c.wav")


@pytest.mark.parametrize("width", [200, 120, 80, 60])
def test_no_table_is_wider_than_the_terminal(width: int, evaluation: Evaluation) -> None:
    text = printed(evaluation, width)
    assert "1.70 [1.50, 1.90]" in text and "…" not in text
    assert max(map(len, text.splitlines())) <= width
    first = text.split("By the mean stft")[0]
    assert ("no room for: " in first) == (width < 80)
    assert ("pesq_wb" in first.split("no room for: ")[0]) == (width > 60)


def test_a_long_name_is_folded(evaluation: Evaluation) -> None:
    name = f"projection:/somewhere/{'far/' * 30}best.safetensors"
    rows = tuple({**row, "system": name} if row["system"] == "optimized" else row for row in evaluation.rows)
    text = printed(replace(evaluation, rows=rows, summary=summarize(rows, seed=0)), 80)
    assert "…" not in text and "1.70 [1.50, 1.90]" in text


def test_a_system_like_a_control_is_warned_of(evaluation: Evaluation) -> None:
    rows = tuple({**row, "stft": 6.0} if row["system"] == "optimized" else row for row in evaluation.rows)
    text = printed(replace(evaluation, rows=rows, summary=summarize(rows, seed=0)))
    assert "Poor, in doubt" in text and "overlaps theirs or is better: optimized (silence)." in text


def test_tiers_cost_suite_and_worst_files_are_shown(evaluation: Evaluation) -> None:
    text = printed(evaluation)
    assert "Controls here: silence 6.00." in text and "Over the whole suite" in text and "Cost" in text
    assert "<img onerror=alert(1)>|[red]x.wav: 2.70" in text  # no markup
