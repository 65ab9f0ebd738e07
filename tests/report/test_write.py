from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.errors import HeartoptError, OutputError
from heartopt.evaluation import Evaluation
from heartopt.report.check import unfaithful
from heartopt.report.figures import rows_of
from heartopt.report.pictures import choose_heard, digest_of
from heartopt.report.write import read_report, render_texts, write_files, write_report

TEXTS = ["own.csv", "own.json", "own.md", "own.summary.csv"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sound(file: str, system: str | None) -> Tensor:
    return torch.full((2, 4_800), 0.1 if system is None else 0.2)


def test_writes_everything_under_the_suites_name(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path / "reports", command="heartopt evaluate")
    pictures = ["own.codes.png", "own.tiers.png", "own.time.png"]
    assert names(tmp_path / "reports") == sorted([*TEXTS, *pictures])
    assert sorted(path.name for path in files.pictures) == pictures
    text = files.markdown.read_text(encoding="utf-8")
    assert text.startswith("# Evaluation: own\n") and all(f"]({name})" in text for name in pictures)
    record = json.loads(files.json.read_text(encoding="utf-8"))
    assert record.pop("settings") == {**evaluation.settings, "pictures": True, "command": "heartopt evaluate"}
    assert record == {key: value for key, value in evaluation.to_json().items() if key != "settings"}
    assert all(rows_of(path) == digest_of(evaluation) for path in files.pictures)


def test_another_name_may_be_given(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path, name="other", pictures=False)
    assert files.csv == tmp_path / "other.csv" and names(tmp_path) == [n.replace("own", "other") for n in TEXTS]
    assert ".png" not in files.markdown.read_text(encoding="utf-8")


def test_without_matplotlib_the_rest_is_written_and_it_is_said(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    hidden = "heartopt.report.figures.find_spec"
    monkeypatch.setattr(hidden, lambda name: None if name == "matplotlib" else find(name))
    files = write_report(evaluation, output_dir=tmp_path, sounds=sound)
    assert names(tmp_path) == TEXTS and files.pictures == ()
    assert ".png" not in files.markdown.read_text(encoding="utf-8")
    (line,) = caplog.messages
    assert line.startswith("no pictures: ") and "pip install 'heartopt[report]'" in line


def test_spectrograms_are_drawn_where_sounds_are_given(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path, sounds=sound)
    assert (tmp_path / "own.spectrograms.png").is_file()
    text = files.markdown.read_text(encoding="utf-8")
    assert "](own.spectrograms.png)" in text and "![Spectrograms of &lt;img onerror=alert(1)&gt;" in text
    found = read_report(files.json)
    heard = choose_heard(evaluation)
    assert found is not None and heard is not None and found.settings["spectrograms"] == asdict(heard)
    assert (heard.start, heard.result) == ("projection", "optimized")


def test_a_sound_that_cannot_be_had_costs_its_picture_alone(
    evaluation: Evaluation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(file: str, system: str | None) -> Tensor:
        raise HeartoptError("gone")

    write_report(evaluation, output_dir=tmp_path, sounds=missing)
    assert "own.spectrograms.png" not in names(tmp_path) and "own.tiers.png" in names(tmp_path)
    assert [line for line in caplog.messages if line.endswith(": gone")]


def test_texts_follow_from_the_json_alone(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path, command="heartopt evaluate", pictures=False)
    found = read_report(files.json)
    assert found is not None
    assert len(texts := render_texts(found, tmp_path, "own")) == 3
    assert {path: path.read_text(encoding="utf-8") for path in texts} == texts


def test_the_same_rows_give_the_same_bytes(evaluation: Evaluation, tmp_path: Path) -> None:
    files = write_report(evaluation, output_dir=tmp_path, sounds=sound)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    found = read_report(files.json)
    assert found is not None
    write_files(found, tmp_path, "own")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_name_that_is_no_text_is_written_and_read_again(evaluation: Evaluation, tmp_path: Path) -> None:
    name = "a\udcff\x1b[31m\r\n,\"|`.wav"
    rows = tuple({**row, "file": name} if row["file"] == "a.wav" else row for row in evaluation.rows)
    files = write_report(Evaluation.from_json(replace(evaluation, rows=rows).to_json()), output_dir=tmp_path)
    found = read_report(files.json)
    assert found is not None and found.rows[0]["file"] == name
    assert list(unfaithful(files.json)) == []
    assert "a\\udcff" in files.markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["[]", '{"rows": []}', '{"name": "optimize", "rows": [], "summary": []}'])
def test_other_json_is_no_evaluation(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    assert read_report(tmp_path / "x.json") is None


@pytest.mark.parametrize("text", ["{", '{"suite": 1, "rows": [1], "summary": [], "settings": {}}'])
def test_damaged_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HeartoptError, match=r"x\.json"):
        read_report(tmp_path / "x.json")


def test_a_damaged_setting_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    told = {**evaluation.settings, "spectrograms": "all"}
    with pytest.raises(HeartoptError, match="spectrograms is 'all'"):
        write_report(replace(evaluation, settings=told), output_dir=tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        write_report(evaluation, output_dir=tmp_path / "reports")
    assert names(tmp_path) == ["reports"]


def test_an_empty_evaluation_is_written_too(evaluation: Evaluation, tmp_path: Path) -> None:
    empty = replace(evaluation, rows=(), summary=(), differences=(), corpus=())
    files = write_report(empty, output_dir=tmp_path, sounds=sound)
    assert files.pictures == () and names(tmp_path) == TEXTS
    assert "## Failed" in files.markdown.read_text(encoding="utf-8")


def test_rows_without_a_tier_metric_are_written_too(evaluation: Evaluation, tmp_path: Path) -> None:
    rows = tuple({**row, "stft": math.nan, "tier": "unknown"} for row in evaluation.rows)
    found = Evaluation.from_json(replace(evaluation, rows=rows).to_json())
    files = write_report(found, output_dir=tmp_path, sounds=sound)
    assert [path.name for path in files.pictures] == ["own.codes.png"]
