from __future__ import annotations

import json
import math
from typing import Any

import pytest

from heartopt.errors import HeartoptError
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
    keys = {"system", "metric", "mean", "low", "high", "tier", "overlaps", "worst", "count"}
    assert set(record["summary"][0]) == keys
    assert record["rows"][0] == ROWS[0] and record["rows"][4]["pesq_wb"] is None
    assert record["failed"] == [{"file": "c", "system": None, "error": "cannot be read"}]
    assert evaluation.systems == ("projection", "optimized", "silence")
    assert evaluation.metrics == ("stft", "pesq_wb", "seconds", "usage")
    assert (record["corpus"], record["songs"], record["against"]) == ([], [], "projection")


def test_the_report_follows_from_the_rows() -> None:
    songs, corpus = ({"file": "a", "seconds": 1.0},), ({"system": "projection", "fad": math.nan},)
    parts = (summarize(ROWS, seed=3), differences(ROWS, seed=3, against="optimized"))
    made = Evaluation("s", ROWS, *parts, (Failure("c", None, "broken"),), {"seed": 3}, corpus, songs, "optimized")
    record = json.loads(json.dumps(made.to_json()))
    forged = {**record, "summary": [], "differences": [{"system": "optimized", "mean": -9}]}
    read = Evaluation.from_json(forged)
    assert read.to_json() == record
    assert math.isnan(read.rows[4]["pesq_wb"]) and read.failed == made.failed and read.against == "optimized"


WHOLE = {"suite": "s", "rows": [], "settings": {"seed": 0}, "failed": []}


@pytest.mark.parametrize(
    "record",
    [
        *({}, {"rows": 3}, {"rows": [], "settings": {}}, {"rows": [[]]}, {"rows": [{}], "settings": {"seed": 0}}),
        {**WHOLE, "rows": [{"file": 3, "system": "projection"}]},
        {**WHOLE, "corpus": [{"fad": 1.0}]},
        {**WHOLE, "songs": [{"file": None}]},
    ],
)
def test_another_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(HeartoptError, match="not an evaluation that heartopt wrote"):
        Evaluation.from_json(record)


def test_any_system_can_be_what_others_are_held_against() -> None:
    found = differences(ROWS, seed=0, against="optimized")
    assert [(entry.system, entry.baseline, entry.metric) for entry in found] == [("projection", "optimized", "stft")]
    assert found[0].mean == pytest.approx(0.7)
    assert found[0].effect == pytest.approx(0.7 / (0.2 * math.sqrt(2))) and found[0].p == 0.5


def spread(system: str, *stft: float) -> list[dict[str, Any]]:
    return [row(f"{index}", system, stft=value) for index, value in enumerate(stft)]


def test_systems_that_no_interval_parts_from_a_control_are_flagged() -> None:
    rows = [
        *spread("good", 1.0, 1.1, 1.2),
        *spread("doubtful", 3.0, 3.9, 4.1),
        *spread("awful", 9.0, 9.1, 9.2),
        *spread("noise", 4.0, 4.0, 4.0),
        *spread("silence", 6.0, 6.1, 6.2),
    ]
    found = {entry.system: entry.overlaps for entry in summarize(rows, seed=0)}
    assert found == {
        "good": (),
        "doubtful": ("noise",),
        "awful": ("noise", "silence"),
        "noise": (),
        "silence": (),
    }


def test_of_one_file_the_values_have_to_do() -> None:
    rows = [*spread("good", 1.0), *spread("awful", 9.0), *spread("noise", 4.0)]
    found = {entry.system: entry.overlaps for entry in summarize(rows, seed=0)}
    assert found == {"good": (), "awful": ("noise",), "noise": ()}


def test_the_worst_file_is_named_where_a_direction_is_worse() -> None:
    rows = [
        row("a", "s", stft=1.0, si_sdr=3.0, shimmer_db=-2.0, usage=0.1),
        row("b", "s", stft=2.0, si_sdr=-4.0, shimmer_db=1.0, usage=0.2),
        row("c", "s", stft=math.nan, si_sdr=0.0, shimmer_db=0.0, usage=0.3),
    ]
    found = {entry.metric: (entry.worst, entry.count) for entry in summarize(rows, seed=0)}
    assert found == {"stft": ("b", 2), "si_sdr": ("b", 3), "shimmer_db": ("a", 3), "usage": (None, 3)}
