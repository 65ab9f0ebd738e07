from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, CodecError, ConfigError
from heartopt.evaluation import SYSTEMS, Evaluation, Progress, evaluate
from heartopt.optimize import FlowSettings, OptimizeSettings
from heartopt.projection import EncoderProjection

QUICK: dict[str, Any] = {"duration": 7.44, "num_steps": 1, "guidance_scale": 1.0}
OPTIMIZE = OptimizeSettings(objective="flow", steps=1, flow=FlowSettings(draws=1), select_seeds=1)


@pytest.fixture
def common(quick: HeartCodec, projection: EncoderProjection) -> dict[str, Any]:
    return {"codec": quick, "projection": projection, "optimize": OPTIMIZE, **QUICK}


def values(evaluation: Evaluation, metric: str) -> dict[tuple[str, str], float]:
    return {(row["file"], row["system"]): row[metric] for row in evaluation.rows}


def test_every_system_is_judged_on_every_song(common: dict[str, Any], songs: Path) -> None:
    seen: list[Progress] = []
    found = evaluate(files=[songs], seeds=[1], metrics=["stft", "mel", "si_sdr"], progress=seen.append, **common)
    assert not found.failed
    assert [(row["file"], row["system"]) for row in found.rows] == [
        (file, system) for file in ("a.wav", "b.flac") for system in SYSTEMS
    ]
    for row in found.rows:
        assert row["stft"] > 0.5 and row["mel"] > 0 and row["tier"] in ("Excellent", "Good", "Fair", "Poor")
        assert ("usage" in row) == (row["system"] in ("projection", "optimized", "oracle", "random_codes"))
        assert row["rtf"] == pytest.approx(row["wall_seconds"] / row["seconds"])
    assert values(found, "seconds")["b.flac", "oracle"] == 0.5
    assert values(found, "si_sdr")["a.wav", "silence"] == -100
    assert [entry.done for entry in seen] == list(range(2 * len(SYSTEMS) + 1))
    assert (seen[0].file, seen[0].system, seen[0].total) == ("a.wav", "projection", 2 * len(SYSTEMS))
    assert {entry.system for entry in found.differences} == {"optimized", "oracle", "scalar_roundtrip"}
    assert found.settings["judge_seeds"] == [1] and found.settings["optimize"]["duration"] == 7.44
    json.dumps(found.to_json(), allow_nan=False)


def test_values_are_means_over_judge_seeds_and_repeat(common: dict[str, Any], songs: Path) -> None:
    def run(*seeds: int) -> Evaluation:
        return evaluate(files=[songs / "b.flac"], systems=["projection"], metrics=["stft"], seeds=seeds, **common)

    one, two, both, again = (values(run(*seeds), "stft") for seeds in ((1,), (2,), (1, 2), (1, 2)))
    assert both == again
    for key in both:
        assert one[key] != two[key]
        assert both[key] == pytest.approx((one[key] + two[key]) / 2)


def test_every_song_has_noise_of_its_own_the_same_for_all_systems(common: dict[str, Any], songs: Path) -> None:
    """Else one draw would move all songs together, and the intervals over songs would not know."""
    (songs / "b.flac").unlink()
    (songs / "copy.wav").write_bytes((songs / "a.wav").read_bytes())
    found = values(evaluate(files=[songs], systems=["projection"], metrics=["stft"], seeds=[1], **common), "stft")
    assert found["a.wav", "projection"] != found["copy.wav", "projection"]
    with_others = evaluate(files=[songs], systems=["silence", "projection"], metrics=["stft"], seeds=[1], **common)
    assert {**values(with_others, "stft"), **found} == values(with_others, "stft")


def test_files_that_fail_are_listed_and_the_rest_goes_on(common: dict[str, Any], songs: Path) -> None:
    (songs / "aa.wav").write_text("no audio at all")
    names = ["silence", "another_song"]
    found = evaluate(files=[songs], systems=names, metrics=["stft"], **common)
    # aa.wav cannot be judged; a.wav's other song would be aa.wav
    assert [(entry.file, entry.system) for entry in found.failed] == [("a.wav", "another_song"), ("aa.wav", None)]
    assert all("aa.wav" in entry.error and "\n" not in entry.error for entry in found.failed)
    assert [(row["file"], row["system"]) for row in found.rows] == [
        ("a.wav", "silence"),
        ("b.flac", "silence"),
        ("b.flac", "another_song"),
    ]


def test_a_suite_names_its_systems_and_seeds(common: dict[str, Any], songs: Path) -> None:
    text = "name: own\nsystems: [silence, random_codes]\nseeds: [5]\nsongs: [{file: a.wav}, {file: b.flac}]"
    (songs / "s.yaml").write_text(text)
    found = evaluate(suite=songs / "s.yaml", metrics=["mel"], **common)
    assert found.suite == "own" and found.systems == ("silence", "random_codes")
    assert found.settings["judge_seeds"] == [5] and found.settings["projection"] is None
    assert "tier" not in found.rows[0]
    assert evaluate(suite=songs / "s.yaml", systems=["silence"], metrics=["mel"], **common).systems == ("silence",)


def test_silent_songs_have_no_stft_and_tiny_ones_do(common: dict[str, Any], tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "silent.wav", np.zeros((4800, 2)), 48_000)
    soundfile.write(tmp_path / "tiny.wav", np.full((480, 1), 0.1), 48_000)
    found = evaluate(files=[tmp_path], systems=["projection", "noise", "silence"], seeds=[1], **common)
    assert not found.failed and len(found.rows) == 6
    for row in found.rows:
        silent = row["file"] == "silent.wav"
        assert math.isfinite(row["mel"]) and math.isnan(row["stft"]) == silent
        assert (row["tier"] == "unknown") == silent
    tiny = values(found, "stft")["tiny.wav", "noise"]
    assert [entry.mean for entry in found.summary if (entry.system, entry.metric) == ("noise", "stft")] == [tiny]


def test_a_suite_s_unknown_system_is_refused(common: dict[str, Any], songs: Path) -> None:
    (songs / "s.yaml").write_text("name: own\nsystems: [silence, magic]\nsongs: [{file: a.wav}]")
    with pytest.raises(ConfigError, match="unknown system magic"):
        evaluate(suite=songs / "s.yaml", **common)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({}, ConfigError, "give a suite or audio files"),
        ({"files": ["."], "suite": "s.yaml"}, ConfigError, "and not both"),
        ({"files": ["none.wav"]}, AudioError, "none.wav"),
        ({"files": ["SONGS"], "systems": ["magic"]}, ConfigError, "unknown system magic"),
        ({"files": ["SONGS"], "metrics": ["fad"]}, ConfigError, "unknown metric fad"),
        ({"files": ["SONGS"], "seeds": []}, ConfigError, "judge seeds must be"),
        ({"files": ["SONGS"], "seeds": [1, 1]}, ConfigError, "different numbers"),
        ({"files": ["SONGS"], "duration": 10.0}, CodecError, "7.44"),
    ],
)
def test_wrong_calls_are_refused_before_any_work(
    wrong: dict[str, Any], error: type[Exception], message: str, common: dict[str, Any], songs: Path
) -> None:
    if wrong.get("files") == ["SONGS"]:
        wrong = {**wrong, "files": [songs]}
    with pytest.raises(error, match=message):
        evaluate(**{**common, **wrong, "progress": lambda _: pytest.fail("work began")})
