from __future__ import annotations

import csv
from dataclasses import replace

from heartopt.evaluation import Evaluation
from heartopt.report.comma_separated import rows_csv, summary_csv


def test_rows_are_those_of_the_evaluation(evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(rows_csv(evaluation).splitlines()))
    assert len(rows) == len(evaluation.rows)
    assert list(rows[0])[:4] == ["file", "system", "tier", "stft"]
    for found, row in zip(rows, evaluation.rows, strict=True):
        assert found["file"] == row["file"] and float(found["stft"]) == row["stft"]
        assert found["si_sdr"] == "" and found["pesq_wb"] == "not installed"
        assert found["usage"] == str(row.get("usage", ""))


def test_notes_have_a_column_where_there_are_some(evaluation: Evaluation) -> None:
    assert "note" not in rows_csv(evaluation).splitlines()[0]
    noted = replace(evaluation, rows=({**evaluation.rows[0], "note": "cut"}, *evaluation.rows[1:]))
    assert [row["note"] for row in csv.DictReader(rows_csv(noted).splitlines())] == ["cut", "", "", "", "", ""]


def test_the_summary_has_means_tiers_differences_and_the_suite(evaluation: Evaluation) -> None:
    lines = list(csv.DictReader(summary_csv(evaluation).splitlines()))
    found = {(line["over"], line["system"], line["metric"]): line for line in lines}
    assert len(found) == len(lines)
    stft = found["files", "optimized", "stft"]
    assert (stft["mean"], stft["low"], stft["high"], stft["tier"], stft["files"]) == ("1.7", "1.5", "1.9", "Good", "2")
    assert (stft["worst"], stft["better"], stft["against"]) == (evaluation.rows[5]["file"], "lower", "projection")
    assert float(stft["difference"]) == -0.9 and (stft["difference_low"], stft["difference_high"]) == ("-1", "-0.8")
    assert found["files", "projection", "stft"]["difference"] == ""
    fad = found["suite", "projection", "fad"]
    assert (fad["mean"], fad["low"], fad["files"]) == ("0.25", "", "")
    assert found["suite", "optimized", "dead"]["unit"] == "codes"


def test_the_summary_names_the_controls_that_overlap(evaluation: Evaluation) -> None:
    entries = [replace(e, overlaps=("noise", "silence")) if e.metric == "stft" else e for e in evaluation.summary]
    lines = csv.DictReader(summary_csv(replace(evaluation, summary=tuple(entries))).splitlines())
    assert {line["overlaps"] for line in lines if line["metric"] == "stft"} == {"noise silence"}
