from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from heartopt.errors import OutputError
from heartopt.evaluation import Evaluation, Failure
from heartopt.evaluation.gate import Comparison, Regression, Verdict
from heartopt.report.junit import junit_xml, write_junit

HOSTILE = "<img onerror=alert(1)>&\"'\x1b[31m\x00\udcff\ufffe.wav"
NAN = math.nan


@pytest.fixture
def verdict() -> Verdict:
    return Verdict(
        (
            Regression("projection", "files", 6, 5, 1, NAN, NAN, 0.0, 5, "c.wav", f"not judged on {HOSTILE}"),
            Regression("projection", "stft", 1.83, 2.1, 0.27, 0.21, 0.33, 0.05, 6, HOSTILE),
            Comparison("projection", "mel", 0.3, 0.31, 0.01, -0.02, 0.03, 0.02, 6, "a.wav"),
            Comparison("optimized", "files", 6, 6, 0, NAN, NAN, 0.0, 6),
            Regression("optimized", "pesq_wb", 2.0, NAN, NAN, NAN, NAN, 0.1, 0, "", "pesq_wb: not installed"),
        )
    )


def cases(text: str) -> dict[tuple[str | None, str | None], ElementTree.Element]:
    """The cases by class and name: every one is another."""
    found = ElementTree.fromstring(text).findall("testsuite/testcase")
    result = {(case.get("classname"), case.get("name")): case for case in found}
    assert len(result) == len(found)
    return result


def test_one_case_for_each_system_and_metric(evaluation: Evaluation, verdict: Verdict) -> None:
    found = cases(junit_xml(replace(evaluation, failed=()), verdict))
    assert list(found) == [
        ("own.projection", "files"),
        ("own.projection", "stft"),
        ("own.projection", "mel"),
        ("own.optimized", "files"),
        ("own.optimized", "pesq_wb"),
    ]
    failures = {key: case.find("failure") for key, case in found.items()}
    assert [failure is not None for failure in failures.values()] == [True, True, False, False, True]


def test_a_failure_gives_the_numbers(evaluation: Evaluation, verdict: Verdict) -> None:
    found = cases(junit_xml(evaluation, verdict))
    worse, missing = (found[key].find("failure") for key in (("own.projection", "stft"), ("own.optimized", "pesq_wb")))
    assert worse is not None and missing is not None
    assert (worse.get("type"), missing.get("type")) == ("regression", "missing")
    message = worse.get("message") or ""
    assert message.startswith("stft of projection: 1.83 became 2.10, worse by +0.270 [+0.210, +0.330], tolerance 0.050")
    assert "over 6 files" in message
    assert missing.get("message") == "pesq_wb of optimized: pesq_wb: not installed"
    assert "mel of projection: 0.300 became 0.310" in (found["own.projection", "mel"].findtext("system-out") or "")


def test_counts(evaluation: Evaluation, verdict: Verdict) -> None:
    root = ElementTree.fromstring(junit_xml(evaluation, verdict))
    for element in (root, root.find("testsuite")):
        assert element is not None
        counts = {key: element.get(key) for key in ("tests", "failures", "errors", "skipped")}
        assert counts == {"tests": "7", "failures": "3", "errors": "2", "skipped": "0"}
    assert root.get("name") == "heartopt evaluate"
    assert {entry.get("name"): entry.get("value") for entry in root.iter("property")} == {
        "codec": "mini",
        "judge_seeds": "[101, 102]",
        "projection": "None",
        "seed": "0",
    }


def test_what_failed_is_an_error(evaluation: Evaluation) -> None:
    found = cases(junit_xml(evaluation, Verdict(())))
    assert list(found) == [("own.optimized", "c.wav"), ("own.song", "d.wav")]
    errors = [case.find("error") for case in found.values()]
    assert [error.get("message") for error in errors if error is not None] == ["c.wav: truncated", "d.wav: empty"]


def test_without_a_gate_the_means_are_the_cases(evaluation: Evaluation) -> None:
    text = junit_xml(evaluation)
    found = cases(text)
    assert "stft of optimized: 1.70 [1.50, 1.90]" in (found["own.optimized", "stft"].findtext("system-out") or "")
    assert found["own.optimized", "pesq_wb"].find("skipped") is not None
    assert "<failure" not in text


@pytest.mark.parametrize("suite", ["own", HOSTILE])
def test_hostile_names_are_valid_xml(suite: str, evaluation: Evaluation, verdict: Verdict, tmp_path: Path) -> None:
    rows = tuple({**row, "system": HOSTILE} for row in evaluation.rows)
    hostile = replace(evaluation, suite=suite, rows=rows, failed=(Failure(HOSTILE, HOSTILE, f"{HOSTILE}\nno\ttab"),))
    hostile = replace(hostile, settings={"codec": HOSTILE, "seed": 0})
    write_junit(hostile, tmp_path / "new/junit.xml", verdict)
    text = (tmp_path / "new/junit.xml").read_bytes()
    root = ElementTree.fromstring(text)
    shown = "<img onerror=alert(1)>&\"'\\x1b[31m\\x00\\udcff\\ufffe.wav"
    failures = [element.get("message") or "" for element in root.iter("failure")]
    assert sum(shown in message for message in failures) == 2
    (error,) = root.iter("error")
    assert error.get("message") == f"{shown}\nno\ttab"
    assert text == (tmp_path / "new/junit.xml").read_bytes()


def test_the_same_evaluation_gives_the_same_file(evaluation: Evaluation, verdict: Verdict) -> None:
    assert junit_xml(evaluation, verdict) == junit_xml(evaluation, verdict)


def test_what_cannot_be_written_is_said(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_junit(evaluation, tmp_path / "file/junit.xml")
