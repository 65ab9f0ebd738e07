from __future__ import annotations

import json
import math
from typing import Any

import pytest

from heartopt.evaluation.results import Evaluation, Failure, differences, summarize


def row(file: str, system: str, **values: Any) -> dict[str, Any]:
    return {"file": file, "system": system, **values}


ROWS = (
    row("a", "projection", stft=2.0, tier="Fair", pesq_wb="not installed", seconds=1.0),
    row("b", "projection", stft=3.0, tier="Fair", pesq_wb="not installed", seconds=2.0),
    row("a", "optimized", stft=1.5, tier="Good", pesq_wb="not installed", usage=0.5, seconds=1.0),
    row("b", "optimized", stft=2.1, tier="Fair", pesq_wb="not installed", usage=0.7, seconds=2.0),
    row("a", "silence", stft=6.0, tier="Poor", pesq_wb=math.nan, seconds=1.0),
)


def test_summary_has_means_and_tiers_of_the_mean() -> None:
    found = {(entry.system, entry.metric): entry for entry in summarize(ROWS, seed=0)}
    assert found["projection", "stft"].mean == 2.5 and found["projection", "stft"].tier == "Fair"
    assert found["optimized", "stft"].mean == pytest.approx(1.8)
    assert found["optimized", "stft"].tier == "Good"
    assert found["optimized", "usage"].tier is None
    assert found["silence", "stft"].tier == "Poor" and math.isnan(found["silence", "stft"].low)
    assert math.isnan(found["projection", "pesq_wb"].mean)
    assert not [key for key in found if key[1] in ("seconds", "tier", "file")]


def test_differences_pair_files_and_leave_controls_out() -> None:
    found = differences(ROWS, seed=0)
    assert [(entry.system, entry.metric) for entry in found] == [("optimized", "stft")]
    assert found[0].mean == pytest.approx(-0.7) and found[0].files == 2
    assert found[0].low == pytest.approx(-0.9) and found[0].high == pytest.approx(-0.5)
    assert found[0].clear
    assert differences(ROWS[2:], seed=0) == ()


def test_json_has_the_contracts_keys_and_no_nan() -> None:
    failed = (Failure("c", None, "cannot be read"),)
    evaluation = Evaluation("s", ROWS, summarize(ROWS, seed=0), differences(ROWS, seed=0), failed, {"seed": 0})
    record = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert list(record)[:4] == ["suite", "rows", "summary", "regressions"]
    assert record["suite"] == "s" and record["regressions"] == []
    assert set(record["summary"][0]) == {"system", "metric", "mean", "low", "high", "tier"}
    assert record["rows"][0] == ROWS[0] and record["rows"][4]["pesq_wb"] is None
    assert record["failed"] == [{"file": "c", "system": None, "error": "cannot be read"}]
    assert evaluation.systems == ("projection", "optimized", "silence")
    assert evaluation.metrics == ("stft", "pesq_wb", "seconds", "usage")
