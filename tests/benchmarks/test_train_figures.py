"""The page of speed and growth: its figures are those of the JSON, and the committed page follows from it."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("train_figures")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train_speed.json", "train_growth.json"):
        shutil.copy(REPORTS / name, tmp_path / name)
    return tmp_path


def test_the_committed_page_follows_from_the_measurements(figures: Any, folder: Path) -> None:
    assert figures.main(["--report", str(folder)]) == 0
    written = (folder / "train_speed.md").read_text(encoding="utf-8")
    assert written == (REPORTS / "train_speed.md").read_text(encoding="utf-8")


def test_another_measurement_gives_another_page(figures: Any, folder: Path) -> None:
    speed = json.loads((folder / "train_speed.json").read_text())
    speed["training"]["flow"]["ratio"] = {"median": 123.456, "low": 7.0, "high": 200.0}
    growth = json.loads((folder / "train_growth.json").read_text())
    growth["rows"][0]["train_peak_mb"] = 98765.4
    text = figures.page(speed, growth)
    assert "| 123.46 [7.00, 200.00] |" in text
    assert "| 98765 |" in text


def test_a_missing_measurement_is_one_line(figures: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train_growth.json").unlink()
    assert figures.main(["--report", str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "train_speed.md").exists()
