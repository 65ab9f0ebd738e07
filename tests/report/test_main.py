from __future__ import annotations

from pathlib import Path

import pytest

from heartopt.evaluation import Evaluation
from heartopt.report.__main__ import main
from heartopt.report.write import write_report


@pytest.fixture
def folder(evaluation: Evaluation, tmp_path: Path) -> Path:
    write_report(evaluation, output_dir=tmp_path, pictures=False)
    (tmp_path / "other.json").write_text('{"rows": [], "name": "another script"}')
    return tmp_path


def reports(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.json"))]


def test_what_follows_passes_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["--check", *reports(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["own.md", "own.csv"])
def test_a_changed_digit_is_found_and_mended(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / name
    whole = path.read_text(encoding="utf-8")
    assert "1.5" in whole
    path.write_text(whole.replace("1.5", "1.4", 1), encoding="utf-8")
    assert main(["--check", *reports(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: does not follow from {folder / 'own.json'}")
    assert main(reports(folder)) == 0
    assert path.read_text(encoding="utf-8") == whole


def test_a_changed_row_is_found(folder: Path) -> None:
    path = folder / "own.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"stft": 1.5', '"stft": 1.6', 1), encoding="utf-8")
    assert main(["--check", str(path)]) == 1


def test_a_missing_text_is_found(folder: Path) -> None:
    (folder / "own.md").unlink()
    assert main(["--check", *reports(folder)]) == 1


def test_a_damaged_report_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.json").write_text("{")
    assert main(reports(folder)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "own.json" in line
