from __future__ import annotations

import re
from dataclasses import replace

import pytest

from heartopt.evaluation import Evaluation
from heartopt.report.markdown import escape, fenced, markdown


def test_says_how_it_was_made_and_what_it_found(evaluation: Evaluation) -> None:
    told = {**evaluation.settings, "command": "heartopt evaluate --suite own.yaml"}
    text = markdown(replace(evaluation, settings=told), pictures={"own.tiers.png": "Tiers [of all]"})
    assert "![Tiers \\[of all\\]](own.tiers.png)" in text
    assert "```sh\nheartopt evaluate --suite own.yaml\n```" in text
    assert "| optimized | Good | 1.70 \\[1.50, 1.90\\] |" in text
    assert "Excellent below 1; Good from 1 to below 2; Fair from 2 to 3; Poor above 3." in text
    assert "Controls here: silence 6.00." in text
    assert "| judge_seeds | \\[101, 102\\] |" in text
    assert "| c.wav | optimized | c.wav: truncated |\n| d.wav | – | d.wav: empty |" in text
    assert text.endswith("|\n")


def test_a_picture_of_any_name_is_linked(evaluation: Evaluation) -> None:
    text = markdown(evaluation, pictures={"my suite (v1).tiers.png": "Tiers"})
    assert "![Tiers](my%20suite%20%28v1%29.tiers.png)" in text


def test_a_hostile_file_name_is_text(evaluation: Evaluation) -> None:
    text = markdown(evaluation)
    assert "<img" not in text
    assert "&lt;img onerror=alert(1)&gt;\\|\\[red\\]x.wav" in text


def test_tables_have_as_many_cells_as_headings(evaluation: Evaluation) -> None:
    blocks = [block.splitlines() for block in markdown(evaluation).split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 10  # summary, differences, worst, suite, levels, cost, files, failed, words, settings
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block}) == 1


def test_no_failures_no_section(evaluation: Evaluation) -> None:
    clean = Evaluation("own", evaluation.rows, evaluation.summary, (), (), {})
    text = markdown(clean)
    assert "## Failed" not in text and "Paired differences" not in text and "```" not in text


def test_figures_are_explained_where_they_occur(evaluation: Evaluation) -> None:
    text = markdown(evaluation)
    assert re.search(r"^\| `stft` \| .+ \| .+ \| .+ \|$", text, re.MULTILINE)
    assert re.search(r"^\| `fad` \| ", text, re.MULTILINE) and "| `lsd` |" not in text


def test_no_table_is_too_wide_to_read(evaluation: Evaluation) -> None:
    from heartopt.evaluation.results import summarize
    from heartopt.metrics import METRICS

    rows = tuple({**row, **{name: row.get(name, 1.0) for name in METRICS}} for row in evaluation.rows)
    text = markdown(replace(evaluation, rows=rows, summary=summarize(rows, seed=0)))
    assert all(f"{name} (" in text or f"{name} |" in text for name in METRICS)
    assert max(line.replace("\\|", "").count("|") for line in text.splitlines()) <= 12


def test_differences_of_other_metrics_are_folded(evaluation: Evaluation) -> None:
    from heartopt.evaluation.results import differences

    rows = tuple({**row, "lsd": row["stft"]} for row in evaluation.rows)
    text = markdown(replace(evaluation, differences=differences(rows, seed=0)))
    main, rest = text.split("<summary>1 differences of other metrics</summary>")
    assert "| optimized | stft |" in main and "| optimized | lsd |" in rest.split("</details>")[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("random_codes", "random_codes"),
        ("_a__b_ __init__", "\\_a\\_\\_b\\_ \\_\\_init\\_\\_"),
        ("~~x~~ $y$ `z` *w*", "\\~\\~x\\~\\~ \\$y\\$ \\`z\\` \\*w\\*"),
        ("[a](b) | <b> & c\\", "\\[a\\](b) \\| &lt;b&gt; &amp; c\\\\"),
        ("two\n\tlines", "two lines"),
    ],
)
def test_escaped_text_is_shown_as_it_is(name: str, text: str) -> None:
    assert escape(name) == text


def test_a_command_stays_in_its_block() -> None:
    assert fenced("x") == "```sh\nx\n```"
    assert fenced("a ``` b").splitlines()[0] == "````sh"
