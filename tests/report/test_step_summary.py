from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from heartopt.errors import OutputError
from heartopt.evaluation import Evaluation, Failure
from heartopt.evaluation.gate import Comparison, Regression, Verdict
from heartopt.report.step_summary import MOST_ROWS, append_step_summary, step_summary

HOSTILE = "<img onerror=alert(1)>|`x`*[y](z)\n# \udcff.wav"
WORSE = Regression("projection", "stft", 1.83, 2.1, 0.27, 0.21, 0.33, 0.05, 6, "a.wav")
SAME = Comparison("projection", "mel", 0.3, 0.31, 0.01, -0.02, 0.03, 0.02, 6, "a.wav")
GONE = Regression("oracle", "files", 6, 0, 6, math.nan, math.nan, 0.0, 0, "a.wav", "the run lacks this system")


def test_what_got_worse_by_how_much(evaluation: Evaluation) -> None:
    text = step_summary(replace(evaluation, failed=()), Verdict((WORSE, SAME, GONE)))
    assert text.startswith("## heartopt evaluate: own\n\n❌ **The regression gate fails: 2 of 3 comparisons")
    assert "| projection | stft | 1.83 | 2.10 | +0.270 | \\[+0.210, +0.330\\] | 0.050 | 6 | a.wav |" in text
    assert "| oracle | files | 6 | 0 | +6 | – | 0 | 0 | the run lacks this system |" in text
    assert "| projection | mel" not in text and "Means over" not in text


def test_a_gate_that_holds_shows_the_means(evaluation: Evaluation) -> None:
    text = step_summary(replace(evaluation, failed=()), Verdict((SAME,), ("few files (2): all must agree",)))
    assert "✅ **The regression gate holds: none of 1 comparisons is worse than the baseline.**" in text
    assert "- few files (2): all must agree" in text
    assert "| optimized | Good | 1.70 \\[1.50, 1.90\\] |" in text


def test_without_a_gate_there_is_no_verdict(evaluation: Evaluation) -> None:
    text = step_summary(evaluation)
    assert "gate" not in text and "| optimized | Good | 1.70" in text
    assert "2 could not be judged:\n\n- c.wav (optimized): c.wav: truncated\n- d.wav (the song): d.wav: empty" in text


def test_nothing_judged(evaluation: Evaluation) -> None:
    text = step_summary(replace(evaluation, rows=(), summary=()))
    assert "2 could not be judged" in text and "Means" not in text


def test_hostile_names_are_text(evaluation: Evaluation, tmp_path: Path) -> None:
    failed = (Failure(HOSTILE, HOSTILE, HOSTILE),)
    worse = replace(WORSE, system=HOSTILE, worst=HOSTILE)
    path = tmp_path / "summary.md"
    append_step_summary(replace(evaluation, suite=HOSTILE, failed=failed), path, Verdict((worse,), (HOSTILE,)))
    text = path.read_text(encoding="utf-8")
    assert "<img" not in text and "\n# " not in text
    (row,) = [line for line in text.splitlines() if "+0.270" in line]
    assert row.replace("\\|", "").count("|") == 10


def test_it_is_appended(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "new/summary.md"
    append_step_summary(evaluation, path)
    append_step_summary(evaluation, path)
    assert path.read_text(encoding="utf-8") == 2 * step_summary(evaluation)


def test_it_stays_far_below_a_mebibyte(evaluation: Evaluation) -> None:
    failed = tuple(Failure(f"{number}.wav", "projection", "x" * 100) for number in range(5000))
    text = step_summary(replace(evaluation, failed=failed), Verdict((WORSE,) * 5000))
    assert text.count(f"… and {5000 - MOST_ROWS} more.") == 2
    assert len(text.encode()) < 100_000


def test_what_cannot_be_written_is_said(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        append_step_summary(evaluation, tmp_path)
