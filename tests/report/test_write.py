from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from heartopt.errors import HeartoptError, OutputError
from heartopt.evaluation import Evaluation
from heartopt.report.write import csv_text, read_report, render_texts, write_report


def test_writes_three_files_under_the_suites_name(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path / "reports", command="heartopt evaluate")
    pictures = ["own.codes.png", "own.tiers.png", "own.time.png"]
    names = sorted(path.name for path in (tmp_path / "reports").iterdir())
    assert names == sorted(["own.csv", "own.json", "own.md", *pictures])
    text = files.markdown.read_text(encoding="utf-8")
    assert text.startswith("# Evaluation: own\n") and all(f"]({name})" in text for name in pictures)
    record = json.loads(files.json.read_text(encoding="utf-8"))
    assert record.pop("settings") == {**evaluation.settings, "pictures": True, "command": "heartopt evaluate"}
    assert record == {key: value for key, value in evaluation.to_json().items() if key != "settings"}
    assert write_report(evaluation, output_dir=tmp_path, name="other").csv == tmp_path / "other.csv"


def test_without_pictures_none_is_linked(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path, pictures=False)
    assert len(list(tmp_path.iterdir())) == 3 and ".png" not in files.markdown.read_text(encoding="utf-8")


def test_texts_follow_from_the_json_alone(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path, command="heartopt evaluate", pictures=False)
    found = read_report(files.json)
    assert found is not None
    texts = files.markdown.read_text(encoding="utf-8"), files.csv.read_text(encoding="utf-8")
    assert render_texts(found, "own") == texts


@pytest.mark.parametrize("text", ["[]", '{"rows": []}', '{"name": "optimize", "rows": [], "summary": []}'])
def test_other_json_is_no_evaluation(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    assert read_report(tmp_path / "x.json") is None


@pytest.mark.parametrize("text", ["{", '{"suite": 1, "rows": [1], "summary": [], "settings": {}}'])
def test_damaged_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HeartoptError, match=r"x\.json"):
        read_report(tmp_path / "x.json")


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
