from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from heartopt.errors import OutputError
from heartopt.evaluation import Evaluation
from heartopt.report.write import csv_text, write_report


def test_writes_three_files_under_the_suites_name(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path / "reports", command="heartopt evaluate")
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["own.csv", "own.json", "own.md"]
    assert files.markdown.read_text(encoding="utf-8").startswith("# Evaluation: own\n")
    assert json.loads(files.json.read_text(encoding="utf-8")) == evaluation.to_json()
    assert write_report(evaluation, output_dir=tmp_path, name="other").csv == tmp_path / "other.csv"


def test_csv_has_the_rows(evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(csv_text(evaluation).splitlines()))
    assert len(rows) == len(evaluation.rows)
    assert list(rows[0])[:4] == ["file", "system", "tier", "stft"]
    for found, row in zip(rows, evaluation.rows, strict=True):
        assert found["file"] == row["file"] and float(found["stft"]) == row["stft"]
        assert found["si_sdr"] == "" and found["pesq_wb"] == "not installed"
        assert found["usage"] == str(row.get("usage", ""))


def test_a_folder_that_cannot_be_made_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        write_report(evaluation, output_dir=tmp_path / "reports")
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
