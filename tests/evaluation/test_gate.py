"""The gate on rows of which the answer is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartopt.errors import ConfigError
from heartopt.evaluation import Evaluation, Failure
from heartopt.evaluation.baseline import Baseline
from heartopt.evaluation.gate import (
    FILES,
    Comparison,
    Regression,
    compare,
    find_regressions,
    parse_tolerances,
    worsening_interval,
)
from heartopt.metrics import METRICS, QUANTITIES

SETTINGS: dict[str, Any] = {
    "heartopt": "1",
    "codec": "mini",
    "fingerprint": "ab" * 32,
    "decoding": {"duration": 7.44, "num_steps": 10, "guidance_scale": 1.25},
    "judge_seeds": [101, 102],
    "seed": 0,
}
FILE_NAMES = tuple("abcdef")


def rows(system: str = "projection", **metrics: Sequence[Any]) -> list[dict[str, Any]]:
    """One row a file, named a, b, …; `metrics` are its columns."""
    count = len(next(iter(metrics.values())))
    return [
        {"file": FILE_NAMES[index], "system": system, **{name: values[index] for name, values in metrics.items()}}
        for index in range(count)
    ]


def evaluation(found: Sequence[dict[str, Any]], *failed: Failure, **changes: Any) -> Evaluation:
    songs = tuple({"file": name} for name in dict.fromkeys(row["file"] for row in found))
    fields: dict[str, Any] = {"suite": "s", "settings": SETTINGS, "songs": songs, **changes}
    return Evaluation(rows=tuple(found), summary=(), differences=(), failed=failed, **fields)


def baseline(found: Sequence[dict[str, Any]], **tolerances: float) -> Baseline:
    now = evaluation(found)
    settings = (SETTINGS["codec"], SETTINGS["fingerprint"], SETTINGS["decoding"])
    return Baseline(Path("b.json"), now.suite, now.songs, *settings, now.rows, tolerances=tolerances)


def only(found: Sequence[Comparison], metric: str) -> Comparison:
    (entry,) = [entry for entry in found if entry.metric == metric]
    return entry


def test_the_interval_of_five_files_is_student_s() -> None:
    found = worsening_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    reach = 2.7764451 * math.sqrt(0.1 / 4 / 5)  # t of 4 degrees of freedom; variance 0.1 / 4 over 5 files
    assert (found.mean, found.count) == (pytest.approx(0.3), 5)
    assert (found.low, found.high) == (pytest.approx(0.3 - reach), pytest.approx(0.3 + reach))


@pytest.mark.parametrize("values", [[0.4], [0.1, 0.9], [0.1, 0.2, 5.0], [0.3, -0.1, 0.2, 0.2]])
def test_few_files_must_agree(values: list[float]) -> None:
    found = worsening_interval([*values, math.nan])
    assert (found.low, found.high, found.count) == (min(values), max(values), len(values))


def test_nothing_has_no_interval() -> None:
    found = worsening_interval([math.nan])
    assert math.isnan(found.mean) and math.isnan(found.low) and found.count == 0


@pytest.mark.parametrize(
    ("metric", "then", "now", "worse_by"),
    [
        ("stft", 1.0, 1.5, 0.5),  # lower is better
        ("si_sdr", 5.0, 2.0, 3.0),  # higher is better
        ("shimmer_db", 1.0, -5.0, 4.0),  # nearer to zero is better
        ("shimmer_db", -1.0, 5.0, 4.0),
    ],
)
@pytest.mark.parametrize("files", [1, 2, 6])
def test_every_direction(metric: str, then: float, now: float, worse_by: float, files: int) -> None:
    before, after = rows(**{metric: [then] * files}), rows(**{metric: [now] * files})
    (found,) = find_regressions(evaluation(after), baseline(before))
    assert (found.system, found.metric, found.files) == ("projection", metric, files)
    assert (found.baseline, found.now) == (then, now)
    assert found.worse_by == pytest.approx(worse_by)
    assert found.low == pytest.approx(worse_by) == found.high
    assert find_regressions(evaluation(before), baseline(after)) == ()  # the other way round it got better


def test_files_are_paired() -> None:
    """Songs differ by much more than the runs do, which is of no account, and their order is neither."""
    then = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    now = [value + change for value, change in zip(then, (0.3, 0.31, 0.29, 0.3, 0.3, 0.35), strict=True)]
    (found,) = find_regressions(evaluation(rows(stft=now)[::-1]), baseline(rows(stft=then)))
    assert (found.baseline, found.now) == (pytest.approx(3.5), pytest.approx(3.5 + 1.85 / 6))
    assert found.low > 0.28 and found.worst == "f"


def test_a_change_that_is_not_sure_holds() -> None:
    then, now = [2.0] * 6, [2.0 + change for change in (1.5, -0.9, 1.2, -0.8, 0.9, 0.1)]
    found = only(compare(evaluation(rows(stft=now)), baseline(rows(stft=then))).comparisons, "stft")
    assert found.worse_by > found.tolerance and found.low < 0 < found.high
    assert not isinstance(found, Regression)


def test_a_change_within_the_tolerance_holds() -> None:
    before = baseline(rows(stft=[2.0] * 6))
    for change, count in ((0.25, 0), (0.2500001, 1)):
        after = evaluation(rows(stft=[2.0 + change] * 6))
        assert len(find_regressions(after, before, {"stft": 0.25})) == count


def test_tolerances_come_from_the_registry_the_baseline_or_the_call() -> None:
    then, now = rows(stft=[2.0] * 6), evaluation(rows(stft=[2.5] * 6))
    found = compare(now, baseline(then))
    assert only(found.comparisons, "stft").tolerance == QUANTITIES["stft"].tolerance
    assert len(found.regressions) == 1
    assert find_regressions(now, baseline(then, stft=0.6)) == ()
    assert len(find_regressions(now, baseline(then, stft=0.6), {"stft": 0.4})) == 1
    assert [entry.metric for entry in compare(now, baseline(then, stft=math.inf)).comparisons] == [FILES]


def test_below_its_floor_a_value_says_nothing() -> None:
    """An SI-SDR of -30 dB is no better than one of -60 dB: nothing of the waveform is left in either."""
    floor = METRICS["si_sdr"].floor
    before = baseline(rows(si_sdr=[floor - 20] * 6))
    assert find_regressions(evaluation(rows(si_sdr=[floor - 50] * 6)), before) == ()
    (found,) = find_regressions(evaluation(rows(si_sdr=[floor - 50] * 6)), baseline(rows(si_sdr=[floor + 3] * 6)))
    assert found.worse_by == pytest.approx(3) and found.now == floor - 50


def test_every_metric_that_gates_has_a_tolerance() -> None:
    """With none, another version of a library, which rounds otherwise, would fail the gate."""
    directed = [metric for metric in METRICS.values() if metric.better is not None]
    assert directed
    assert [metric.name for metric in directed if not metric.tolerance > 0] == []


def test_what_only_describes_and_what_it_costs_does_not_gate() -> None:
    then = rows(stft=[2.0] * 6, usage=[0.9] * 6, usage_1=[0.9] * 6, rtf=[0.1] * 6, peak_mb=[5.0] * 6)
    now = rows(stft=[2.0] * 6, usage=[0.1] * 6, usage_1=[0.1] * 6, rtf=[9.0] * 6, peak_mb=[99.0] * 6)
    found = compare(evaluation(now), baseline(then))
    assert [entry.metric for entry in found.comparisons] == [FILES, "stft"]
    assert found.regressions == ()
    (slower,) = find_regressions(evaluation(now), baseline(then), {"rtf": 1.0})
    assert (slower.metric, slower.worse_by) == ("rtf", pytest.approx(8.9))


def test_a_missing_system_fails() -> None:
    before = baseline([*rows(stft=[2.0] * 6), *rows("oracle", stft=[3.0] * 6)])
    (found,) = find_regressions(evaluation(rows(stft=[2.0] * 6)), before)
    assert (found.system, found.metric, found.baseline, found.now) == ("oracle", FILES, 6, 0)
    assert found.missing == "the run lacks this system"


def test_a_missing_file_fails_with_its_error() -> None:
    before = baseline(rows(stft=[2.0] * 6))
    after = rows(stft=[2.0] * 6)
    one = evaluation(after[1:], Failure("a", "projection", "no memory"), songs=before.songs)
    (found,) = find_regressions(one, before)
    assert (found.metric, found.baseline, found.now, found.worst) == (FILES, 6, 5, "a")
    assert found.missing == "not judged on a (no memory)"
    song = evaluation(after[1:], Failure("a", None, "a: truncated"))
    assert find_regressions(song, before)[0].missing == "not judged on a (a: truncated)"
    every = evaluation([], *(Failure(name, "projection", "broken") for name in FILE_NAMES), songs=before.songs)
    assert find_regressions(every, before)[0].missing.startswith("not judged on a (broken), b (broken)")


def test_a_metric_without_any_number_fails() -> None:
    before = baseline(rows(stft=[2.0] * 6, pesq_wb=[2.0] * 6))
    for value, word in (("not installed", "not installed"), (None, "no number"), (math.nan, "no number")):
        (found,) = find_regressions(evaluation(rows(stft=[2.0] * 6, pesq_wb=[value] * 6)), before)
        assert found.metric == "pesq_wb" and word in found.missing and found.files == 0
        assert math.isnan(found.now) and found.baseline == 2.0
    (found,) = find_regressions(evaluation(rows(stft=[2.0] * 6)), before)  # --metrics stft
    assert (found.metric, found.missing) == ("pesq_wb", "no number on a, b, c, d, e, f")
    assert find_regressions(evaluation(rows(stft=[2.0] * 6)), before, {"pesq_wb": math.inf}) == ()


def test_a_number_that_is_missing_on_some_files_is_said() -> None:
    before = baseline(rows(pesq_wb=[2.0, 2.0, 2.0, 2.0, None, "not installed"]))
    found = compare(evaluation(rows(pesq_wb=[1.0, 1.0, 1.0, math.nan, 1.0, 1.0])), before)
    assert only(found.regressions, "pesq_wb").files == 3  # d is lost; e and f had none to compare with
    found = compare(evaluation(rows(pesq_wb=[2.0, 2.0, 2.0, math.nan, 1.0, 1.0])), before)
    assert found.regressions == () and "projection, pesq_wb: no number on d" in found.notes
    assert any(note.startswith("few files (3)") for note in found.notes)


def test_what_the_baseline_never_measured_is_not_compared() -> None:
    before = baseline(rows(stft=[2.0] * 6, pesq_wb=["not installed"] * 6))
    found = compare(evaluation(rows(stft=[2.0] * 6, pesq_wb=[1.0] * 6, mel=[1.0] * 6)), before)
    assert [entry.metric for entry in found.comparisons] == [FILES, "stft"]
    assert found.regressions == () and found.notes == ()


def test_new_systems_are_said_and_controls_are_not_guarded() -> None:
    before = baseline([*rows(stft=[2.0] * 6), *rows("noise", stft=[2.0] * 6)])
    after = [*rows(stft=[2.0] * 6), *rows("oracle", stft=[9.0] * 6), *rows("silence", stft=[9.0] * 6)]
    found = compare(evaluation(after), before)
    assert {entry.system for entry in found.comparisons} == {"projection"}
    assert found.regressions == () and found.notes == ("not in the baseline, so not compared: oracle",)


NUMBERS = st.floats(-50, 50)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6))
def test_never_worse_both_ways_and_never_than_itself(pairs: list[tuple[float, float]]) -> None:
    for metric in ("stft", "si_sdr", "shimmer_db"):
        one, other = (rows(**{metric: [pair[side] for pair in pairs]}) for side in (0, 1))
        assert find_regressions(evaluation(one), baseline(one)) == ()
        both = [find_regressions(evaluation(a), baseline(b)) for a, b in ((one, other), (other, one))]
        assert () in both


def test_tolerances_are_parsed() -> None:
    assert parse_tolerances(["stft=0.02", " mel = 1e-3 ", "pesq_wb=off"]) == {
        "stft": 0.02,
        "mel": 1e-3,
        "pesq_wb": math.inf,
    }
    for text in ("stft", "stft=", "=1", "stft=x", "stft=-1", "stft=nan"):
        with pytest.raises(ConfigError, match="METRIC=NUMBER"):
            parse_tolerances([text])


@pytest.mark.parametrize("wrong", [{"sttf": 0.1}, {"usage": 0.1}, {"file": 0.1}, {"stft": -0.1}, {"stft": math.nan}])
def test_impossible_tolerances_are_refused(wrong: dict[str, float]) -> None:
    found = rows(stft=[2.0] * 6, usage=[0.5] * 6)
    with pytest.raises(ConfigError, match=f"tolerance of {next(iter(wrong))}"):
        compare(evaluation(found), baseline(found), wrong)
