"""The benchmarks' committed pages follow from the JSON beside them."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("pages")


def test_the_committed_pages_follow(script: Any) -> None:
    assert script.main(["--report", str(ROOT / "reports"), "--check"]) == 0


def test_a_changed_measurement_is_found_and_mended(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "reports", tmp_path / "reports")
    folder = ["--report", str(tmp_path / "reports")]
    file = tmp_path / "reports" / "deshimmer.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**record, "seconds": 12.0}), encoding="utf-8")
    assert script.main([*folder, "--check"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "deshimmer.md: does not follow" in line
    assert script.main(folder) == 0 and script.main([*folder, "--check"]) == 0
    file.write_text("{", encoding="utf-8")
    assert script.main([*folder, "--check"]) == 1
    assert capsys.readouterr().err.startswith("error: cannot read ")
