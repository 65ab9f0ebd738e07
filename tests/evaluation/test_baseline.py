"""The baseline file: what is written is read again, and what is not this run's baseline is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from heartopt.errors import ConfigError, HeartoptError, OutputError
from heartopt.evaluation import Evaluation, Failure
from heartopt.evaluation.baseline import read_baseline, write_baseline
from heartopt.evaluation.gate import compare

SETTINGS: dict[str, Any] = {
    "heartopt": "1.2",
    "codec": "mini",
    "fingerprint": "ab" * 32,
    "decoding": {"duration": 7.44, "num_steps": 10, "guidance_scale": 1.25},
    "judge_seeds": [101, 102],
    "seed": 0,
}
SONGS: tuple[dict[str, Any], ...] = (
    {"file": "a.wav", "sha256": "c" * 64, "start": 0.0, "seconds": 2.0, "title": "A"},
    {"file": "b.wav", "sha256": "d" * 64, "seconds": 2.0},
)


def evaluation(**changes: Any) -> Evaluation:
    rows = tuple(
        {"file": song["file"], "system": system, "stft": 1.5, "pesq_wb": math.nan, "seconds": 2.0}
        for song in SONGS
        for system in ("projection", "noise")
    )
    fields: dict[str, Any] = {"suite": "s", "rows": rows, "songs": SONGS, "settings": SETTINGS, "failed": ()}
    return Evaluation(summary=(), differences=(), **{**fields, **changes})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new/b.json"
    wrote = write_baseline(evaluation(), path, {"stft": 0.1, "pesq_wb": math.inf})
    found = read_baseline(path)
    assert found == wrote
    assert (found.suite, found.codec, found.fingerprint) == ("s", "mini", "ab" * 32)
    assert (found.decoding, found.judge_seeds, found.heartopt) == (SETTINGS["decoding"], (101, 102), "1.2")
    assert found.tolerances == {"stft": 0.1, "pesq_wb": math.inf}
    assert [row["file"] for row in found.rows] == ["a.wav", "b.wav"] and found.systems == ("projection",)
    assert found.songs[0] == {"file": "a.wav", "sha256": "c" * 64, "start": 0.0, "seconds": 2.0}
    assert compare(evaluation(), found).regressions == ()


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        write_baseline(evaluation(), tmp_path / name)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    json.loads((tmp_path / "one.json").read_text(), parse_constant=pytest.fail)  # no NaN


def test_an_update_keeps_the_tolerances(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(evaluation(), path, {"stft": 0.1})
    assert write_baseline(evaluation(), path).tolerances == {"stft": 0.1}
    assert write_baseline(evaluation(), path, {"mel": 0.2}).tolerances == {"mel": 0.2}
    assert write_baseline(evaluation(suite="other"), path).tolerances == {}
    path.write_text("{")
    assert write_baseline(evaluation(), path).tolerances == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"failed": (Failure("a.wav", "projection", "no\nmemory"),)}, r"1 failed, such as a\.wav \(projection\)"),
        ({"failed": (Failure("a.wav", None, "truncated"),)}, r"such as a\.wav \(the song\): truncated"),
        ({"rows": ()}, "no system but controls"),
        ({"rows": tuple(row for row in evaluation().rows if row["system"] == "noise")}, "no system but controls"),
    ],
)
def test_what_is_no_good_baseline_is_not_written(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(evaluation(), path)
    before = path.read_bytes()
    with pytest.raises(HeartoptError, match=message):
        write_baseline(evaluation(**changes), path)
    assert path.read_bytes() == before


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*b\.json"):
        write_baseline(evaluation(), tmp_path / "file/b.json")


def _without(key: str) -> str:
    return json.dumps({name: value for name, value in GOOD.items() if name != key})


GOOD: dict[str, Any] = {
    "format": 1,
    "suite": "s",
    "songs": [],
    "tolerances": {},
    "rows": [{"file": "a", "system": "x"}],
    **{key: SETTINGS[key] for key in ("codec", "fingerprint", "decoding", "judge_seeds", "heartopt")},
}


def test_the_damage_below_is_done_to_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(GOOD))
    assert read_baseline(tmp_path / "b.json").suite == "s"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        json.dumps(GOOD)[:-20],
        "\udcff",
        "[" * 100_000,
        "[]",
        "null",
        '{"suite": "s"}',
        *(_without(key) for key in GOOD),
        *(json.dumps({**GOOD, key: None}) for key in GOOD),
        json.dumps({**GOOD, "format": 2}),
        json.dumps({**GOOD, "rows": []}),
        json.dumps({**GOOD, "rows": [{"file": "a"}]}),
        json.dumps({**GOOD, "rows": [{"file": 1, "system": "x"}]}),
        json.dumps({**GOOD, "rows": ["a"]}),
        json.dumps({**GOOD, "songs": [{}]}),
        json.dumps({**GOOD, "tolerances": {"stft": -1}}),
        json.dumps({**GOOD, "tolerances": {"stft": "wide"}}),
        json.dumps({**GOOD, "tolerances": {"stft": math.nan}}),
    ],
)
def test_damage_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HeartoptError, match=r"^baseline .*b\.json: .*--update-baseline$") as raised:
        read_baseline(path)
    assert "\n" not in str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(HeartoptError, match="is not there; make it with --update-baseline"):
        read_baseline(tmp_path / "none.json")
    with pytest.raises(HeartoptError, match="cannot be read"):
        read_baseline(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suite": "t"}, "is of the suite s, and this run is of t"),
        ({"settings": {**SETTINGS, "fingerprint": "ef" * 32}}, "is of the codec mini .abababababab., and this run"),
        ({"settings": {**SETTINGS, "decoding": {**SETTINGS["decoding"], "num_steps": 5}}}, "num_steps 10, .* with 5"),
        ({"settings": {**SETTINGS, "decoding": None}}, "duration 7.44, and this run with None"),
        ({"songs": SONGS[:1]}, "has a song b.wav, which this run lacks"),
        ({"songs": (*SONGS, {"file": "c.wav"})}, "has no song c.wav, which this run has"),
        ({"songs": (SONGS[0], {**SONGS[1], "sha256": "e" * 64})}, "another b.wav: sha256 was dddddddddddd… and is eee"),
        ({"songs": ({**SONGS[0], "start": 1.0}, SONGS[1])}, "another a.wav: start was 0.0 and is 1.0"),
    ],
)
def test_the_baseline_of_another_run_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    found = write_baseline(evaluation(), tmp_path / "b.json")
    with pytest.raises(ConfigError, match=f"^baseline .*: .*{message}") as raised:
        compare(evaluation(**changes), found)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {**SETTINGS, "judge_seeds": [7], "heartopt": "9", "projection": "other", "seed": 5}},
        {"songs": (SONGS[0], {"file": "b.wav", "title": "B"})},  # less is known about it
        {"songs": SONGS[::-1]},
    ],
)
def test_what_may_differ(changes: dict[str, Any], tmp_path: Path) -> None:
    assert compare(evaluation(**changes), write_baseline(evaluation(), tmp_path / "b.json")).regressions == ()
