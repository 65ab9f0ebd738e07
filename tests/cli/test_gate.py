"""`heartopt evaluate --baseline`: exit codes, the short table, JUnit and the step summary, as a CI job meets them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

QUICK = ("--metrics", "stft,mel", "--duration", 7.44, "--num-steps", 1, "--judge-seeds", 5)
HOSTILE = "<img onerror=alert(1)>|x.wav"


@pytest.fixture(autouse=True)
def _no_github(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def gate(heartopt, make_song, projection_file: Path, tmp_path: Path):
    """Evaluate two songs, one of a hostile name, against `b.json`: `gate("--fail-on-regression", systems="oracle")`."""
    for name in ("a.wav", HOSTILE):
        make_song(f"in/{name}", seconds=0.15)
    args = (tmp_path / "in", "--projection", projection_file, "--baseline", tmp_path / "b.json", *QUICK)
    return lambda *more, systems="projection": heartopt("evaluate", *args, "--systems", systems, *more)


@pytest.fixture
def worse(gate, tmp_path: Path):
    """After this the baseline is better than what is judged: by 0.5 in `stft`, by 0.2 decades in `mel`."""
    assert gate("--update-baseline").code == 0
    record = json.loads((tmp_path / "b.json").read_text())
    for row in record["rows"]:
        row["stft"] -= 0.5
        row["mel"] -= 0.2
    (tmp_path / "b.json").write_text(json.dumps(record))


def test_a_baseline_holds_against_itself(gate, tmp_path: Path) -> None:
    made = gate("--update-baseline")
    assert made.code == 0 and "b.json" in made.err
    before = (tmp_path / "b.json").read_bytes()
    junit, summary = tmp_path / "out/junit.xml", tmp_path / "out/summary.md"
    ran = gate("--fail-on-regression", "--junit", junit, "--step-summary", summary, "--json")
    assert (ran.code, ran.json["regressions"]) == (0, [])
    assert (tmp_path / "b.json").read_bytes() == before
    root = ElementTree.fromstring(junit.read_bytes())
    assert {case.get("name") for case in root.iter("testcase")} == {"files", "stft", "mel"}
    assert root.get("failures") == "0"
    assert "The regression gate holds" in summary.read_text()
    assert "The regression gate holds" in gate("--fail-on-regression").out


def test_what_got_worse_fails(gate, worse, tmp_path: Path) -> None:
    junit, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    ran = gate("--fail-on-regression", "--junit", junit, "--step-summary", summary)
    assert ran.code == 4
    assert "The regression gate fails: 2 of" in ran.out and "+0.500" in ran.out
    failures = [entry.get("message") or "" for entry in ElementTree.fromstring(junit.read_bytes()).iter("failure")]
    assert len(failures) == 2 and "worse by +0.500" in failures[0]
    text = summary.read_text()
    assert "The regression gate fails" in text and "<img" not in text
    ran = gate("--fail-on-regression", "--json")
    assert ran.code == 4
    assert [entry["metric"] for entry in ran.json["regressions"]] == ["stft", "mel"]
    assert ran.json["regressions"][0]["worse_by"] == pytest.approx(0.5)


def test_the_gate_may_only_tell(gate, worse) -> None:
    ran = gate()
    assert ran.code == 0 and "The regression gate fails: 2 of" in ran.out


def test_tolerances_and_updates_accept_it(gate, worse) -> None:
    assert gate("--fail-on-regression", "--tolerance", "stft=0.6", "--tolerance", "mel=off").code == 0
    assert gate("--fail-on-regression").code == 4
    assert gate("--update-baseline").code == 0
    assert gate("--fail-on-regression").code == 0


def test_what_was_not_measured_fails(gate, tmp_path: Path) -> None:
    assert gate("--update-baseline").code == 0
    ran = gate("--fail-on-regression", "--json", systems="oracle")
    assert ran.code == 4
    assert [entry["missing"] for entry in ran.json["regressions"]] == ["the run lacks this system"]
    (tmp_path / "in/a.wav").write_text("la la la")
    ran = gate("--fail-on-regression", "--json")
    assert ran.code == 4
    assert "not judged on a.wav" in ran.json["regressions"][0]["missing"]
    ran = gate("--update-baseline")
    assert ran.code != 0 and "a.wav" in ran.err


def test_github_gets_its_summary(gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    assert gate("--update-baseline").code == 0
    assert (tmp_path / "step.md").read_text().startswith("## heartopt evaluate: files")


def test_another_run_s_baseline_is_refused(heartopt, gate, make_song, tmp_path: Path) -> None:
    assert gate("--update-baseline").code == 0
    make_song("in/more.wav", seconds=0.1)
    for args, word in (((), "more.wav"), (("--num-steps", 2), "num_steps"), (("--duration", 14.88), "duration")):
        ran = gate("--fail-on-regression", *args)
        assert (ran.code, ran.out) == (2, "")
        assert word in ran.one_line_error()


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"format": 9}'])
def test_damage_is_refused_before_any_work(text: str | None, gate, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "b.json").write_text(text)
    ran = gate("--fail-on-regression")
    assert (ran.code, ran.out) == (1, "")
    assert "b.json" in ran.one_line_error()


def test_wrong_usage(heartopt, make_song, gate) -> None:
    song = make_song(seconds=0.1)
    for flag in ("--fail-on-regression", "--update-baseline"):
        ran = heartopt("evaluate", song, flag)
        assert ran.code == 2 and "--baseline" in ran.err
    assert heartopt("evaluate", song, "--tolerance", "stft=0.1").code == 2
    assert gate("--tolerance", "stft").code == 2
    assert gate("--fail-on-regression", "--update-baseline").code == 2
