from __future__ import annotations

from dataclasses import replace

from heartopt.evaluation import Evaluation
from heartopt.report.markdown import markdown


def test_says_how_it_was_made_and_what_it_found(evaluation: Evaluation) -> None:
    told = {**evaluation.settings, "command": "heartopt evaluate --suite own.yaml"}
    text = markdown(replace(evaluation, settings=told), pictures={"own.tiers.png": "Tiers [of all]"})
    assert "![Tiers \\[of all\\]](own.tiers.png)" in text
    assert "```sh\nheartopt evaluate --suite own.yaml\n```" in text
    assert "| optimized | Good | 1.70 \\[1.50, 1.90\\] |" in text
    assert "**Excellent** below 1; **Good** from 1 to below 2; **Fair** from 2 to 3; **Poor** above 3." in text
    assert "the controls fall at: silence 6.00." in text
    assert "| judge_seeds | \\[101, 102\\] |" in text
    assert "- c.wav (optimized): c.wav: truncated\n- d.wav: d.wav: empty" in text
    assert text.endswith("|\n")


def test_a_hostile_file_name_is_text(evaluation: Evaluation) -> None:
    text = markdown(evaluation)
    assert "<img" not in text
    assert "&lt;img onerror=alert(1)&gt;\\|\\[red\\]x.wav" in text


def test_tables_have_as_many_cells_as_headings(evaluation: Evaluation) -> None:
    blocks = [block.splitlines() for block in markdown(evaluation).split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 9  # summary, differences, worst, suite, levels, cost, files, words, settings
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block}) == 1


def test_no_failures_no_section(evaluation: Evaluation) -> None:
    clean = Evaluation("own", evaluation.rows, evaluation.summary, (), (), {})
    text = markdown(clean)
    assert "## Failed" not in text and "Paired differences" not in text and "```" not in text
