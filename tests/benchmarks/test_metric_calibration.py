"""The metrics' calibration: that its page follows from its rows, and that the metrics keep what they promise there."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from heartopt.evaluation.calibration import MONOTONE
from heartopt.evaluation.distortions import DISTORTIONS
from heartopt.metrics import METRICS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("metric_calibration")


@pytest.fixture(scope="module")
def record() -> Any:
    return json.loads((ROOT / "reports" / "metrics.json").read_text(encoding="utf-8"))


def test_the_committed_page_follows_from_its_record(script: Any, record: Any) -> None:
    assert (ROOT / "reports" / "metrics.md").read_text(encoding="utf-8") == script.page(record)


def test_the_record_knows_every_metric_and_distortion_as_they_are(script: Any, record: Any) -> None:
    assert list(record["metrics"]) == [*METRICS, "fad"]
    for name, metric in METRICS.items():
        said = record["metrics"][name]
        assert (said["about"], said["blind"], said["source"]) == (metric.about, metric.blind, metric.source)
        assert tuple(said["sees"]) == metric.sees
    assert {name: tuple(kind["strengths"]) for name, kind in record["distortions"].items()} == {
        name: kind.strengths for name, kind in DISTORTIONS.items()
    }
    found = {(curve["metric"], curve["distortion"]) for curve in record["curves"]}
    assert found == {(name, kind) for name in record["metrics"] for kind in DISTORTIONS}


def test_every_promise_is_kept_on_the_excerpts(record: Any) -> None:
    curves = {(curve["metric"], curve["distortion"]): curve for curve in record["curves"]}
    broken = [
        (name, kind, curve["spearman"], curve["worsening"][-1])
        for name, metric in record["metrics"].items()
        for kind in metric["sees"]
        for curve in (curves[name, kind],)
        if (curve["spearman"] or 0) < MONOTONE or curve["worsening"][-1] <= metric["tolerance"]
    ]
    assert broken == []


def test_measuring_one_metric_keeps_the_others_and_draws(script: Any, tmp_path: Path) -> None:
    seconds = ["--output", str(tmp_path), "--seconds", "0.2", "--metrics"]
    assert script.main([*seconds, "mel"]) == 0
    first = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert {curve["metric"] for curve in first["curves"]} == {"mel"}
    assert script.main([*seconds, "si_sdr"]) == 0
    both = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert [curve for curve in both["curves"] if curve["metric"] == "mel"] == first["curves"]
    assert {curve["metric"] for curve in both["curves"]} == {"mel", "si_sdr"}
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8") == script.page(both)
    assert (tmp_path / "metrics.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_metric_is_one_line(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--output", str(tmp_path), "--metrics", "loudest"]) == 1
    assert capsys.readouterr().err.startswith("error: unknown metric loudest")
