from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from heartopt.evaluation import Evaluation
from heartopt.report.__main__ import main
from heartopt.report.figures import new_figure, save_figure
from heartopt.report.write import write_report


@pytest.fixture
def folder(evaluation: Evaluation, tmp_path: Path) -> Path:
    write_report(evaluation, output_dir=tmp_path, pictures=False)
    (tmp_path / "other.json").write_text('{"rows": [], "name": "another script"}')
    (tmp_path / "other.md").write_text("# Another script's\n")
    return tmp_path


def reports(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.json"))]


def complaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the check says, in its one line."""
    assert main(["--check", *reports(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_follows_passes_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["--check", *reports(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["own.md", "own.csv", "own.summary.csv"])
def test_a_changed_digit_is_found_and_mended(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / name
    whole = path.read_text(encoding="utf-8")
    assert "1.5" in whole
    path.write_text(whole.replace("1.5", "1.4", 1), encoding="utf-8")
    assert complaint(folder, capsys).startswith(f"error: {path}: does not follow from the rows in {folder}/own.json;")
    assert main(reports(folder)) == 0
    assert path.read_text(encoding="utf-8") == whole
    assert main(["--check", *reports(folder)]) == 0


def test_a_missing_text_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.md").unlink()
    assert complaint(folder, capsys).startswith(f"error: {folder}/own.md: ")


@pytest.mark.parametrize(("key", "field"), [("summary", "mean"), ("differences", "low")])
def test_a_changed_digit_in_the_json_is_found(
    key: str, field: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((folder / "own.json").read_text())
    record[key][0][field] += 1e-3
    (folder / "own.json").write_text(json.dumps(record))
    assert f"own.json: {key} in it does not follow" in complaint(folder, capsys)
    assert main(reports(folder)) == 0 and main(["--check", *reports(folder)]) == 0


def test_a_changed_row_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "own.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"stft": 1.5', '"stft": 1.6', 1), encoding="utf-8")
    assert main(["--check", str(path)]) == 1
    told = capsys.readouterr().err
    assert all(f"error: {folder}/{name}: " in told for name in ("own.json", "own.md", "own.csv", "own.summary.csv"))


def test_another_machines_rounding_passes(folder: Path) -> None:
    record = json.loads((folder / "own.json").read_text())
    record["summary"][0]["mean"] *= 1 + 1e-13
    (folder / "own.json").write_text(json.dumps(record))
    assert main(["--check", *reports(folder)]) == 0


def test_pictures_of_other_rows_are_found(
    evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_report(evaluation, output_dir=tmp_path)
    assert main(["--check", str(files.json)]) == 0
    save_figure(new_figure(2, 2, "another"), files.pictures[0], rows="of another")
    assert complaint(tmp_path, capsys).startswith(f"error: {files.pictures[0]}: was drawn from other rows")
    files.pictures[0].unlink()
    assert complaint(tmp_path, capsys).startswith(f"error: {files.pictures[0]}: is missing")
    assert main([str(files.json)]) == 0 and main(["--check", str(files.json)]) == 0


def test_old_spectrograms_are_found_and_need_the_sounds(
    evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_report(evaluation, output_dir=tmp_path, sounds=lambda file, system: torch.zeros(2, 48_000))
    record = json.loads(files.json.read_text(encoding="utf-8"))
    record["rows"][0]["stft"] += 1
    files.json.write_text(json.dumps(record), encoding="utf-8")
    assert main([str(files.json)]) == 0  # all but the spectrograms
    said = complaint(tmp_path, capsys)
    assert "own.spectrograms.png: was drawn from other rows" in said and "`heartopt evaluate` with `--plots`" in said


def test_a_json_that_lost_its_rows_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.json").write_text("{}")
    assert "own.json: is no evaluation, but own.md was written from one" in complaint(folder, capsys)


def test_a_damaged_report_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.json").write_text("{")
    for arguments in (reports(folder), ["--check", *reports(folder)]):
        assert main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and "own.json" in line


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
