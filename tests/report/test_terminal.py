from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from heartopt.evaluation import Evaluation
from heartopt.evaluation.results import summarize
from heartopt.report.terminal import render


def printed(evaluation: Evaluation) -> str:
    text = io.StringIO()
    Console(file=text, width=200, color_system=None).print(render(evaluation))
    return text.getvalue()


def test_shows_means_differences_and_failures(evaluation: Evaluation) -> None:
    text = printed(evaluation)
    assert "1.70 [1.50, 1.90]" in text and "control: silence" in text
    assert "[-1.000, -0.800]" in text
    assert "failed: c.wav (optimized): c.wav: truncated" in text and "failed: d.wav: d.wav: empty" in text


def test_nothing_but_failures_is_no_table(evaluation: Evaluation) -> None:
    text = printed(Evaluation("own", (), (), (), evaluation.failed, {}))
    assert text.splitlines()[0].startswith("failed: c.wav")


def test_fits_into_120_columns(evaluation: Evaluation) -> None:
    text = io.StringIO()
    Console(file=text, width=120, color_system=None).print(render(evaluation))
    assert "1.70 [1.50, 1.90]" in text.getvalue() and "perplexity" in text.getvalue()
    assert "…" not in text.getvalue()


def test_a_system_like_a_control_is_warned_of(evaluation: Evaluation) -> None:
    rows = tuple({**row, "stft": 6.0} if row["system"] == "optimized" else row for row in evaluation.rows)
    text = printed(replace(evaluation, rows=rows, summary=summarize(rows, seed=0)))
    assert "Poor (like silence)" in text and "optimized is not clearly better than silence" in text
