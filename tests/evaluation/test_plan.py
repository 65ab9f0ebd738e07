"""What an evaluation is asked for: suites against arguments, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError, ConfigError
from heartopt.evaluation import Request, SystemSpec, load_suite, make_plan
from heartopt.evaluation.plan import JUDGE_SEEDS
from heartopt.metrics import DEFAULT_METRICS
from heartopt.metrics.frechet import SpectralEmbedder


@pytest.fixture
def suite(songs: Path) -> Path:
    path = songs / "own.yaml"
    path.write_text(
        "name: own\n"
        "systems:\n"
        "  - projection\n"
        "  - low=mp3:32\n"
        "  - {name: more, system: optimized, settings: {steps: 3, flow: {draws: 1}}}\n"
        "  - {system: 'audio:.'}\n"
        "against: low\n"
        "metrics: [mel]\n"
        "seeds: [7]\n"
        "songs: [{file: a.wav}]\n"
    )
    return path


def test_a_suite_says_what_is_judged(suite: Path, codec: HeartCodec) -> None:
    plan = make_plan(Request(codec=codec, suite=suite))
    assert list(plan.systems) == ["projection", "low", "more", "audio:."]
    assert (plan.against, plan.metrics, plan.seeds) == ("low", ("mel",), (7,))
    assert isinstance(plan.embedder, SpectralEmbedder) and plan.setup.projection is not None
    settings = plan.settings()
    assert settings["systems"] == ["projection", "low", "more", "audio:."]
    assert settings["specs"] == [
        {"name": "low", "system": "mp3:32"},
        {"name": "more", "system": "optimized", "settings": {"steps": 3, "flow": {"draws": 1}}},
    ]
    json.dumps(settings, allow_nan=False)


def test_arguments_win_over_the_suite(suite: Path, codec: HeartCodec) -> None:
    given: dict[str, Any] = {"metrics": ["stft"], "seeds": [1, 2], "embedder": None}
    plan = make_plan(Request(codec=codec, suite=suite, systems=["low", "x=opus:64"], against="x", **given))
    assert [(spec.name, spec.system) for spec in plan.specs] == [("low", "mp3:32"), ("x", "opus:64")]
    assert (plan.against, plan.metrics, plan.seeds, plan.embedder) == ("x", ("stft",), (1, 2), None)
    assert plan.setup.projection is None and plan.settings()["projection"] is None


def test_defaults(songs: Path, codec: HeartCodec) -> None:
    plan = make_plan(Request(codec=codec, files=[songs / "a.wav"], systems=["silence"]))
    assert (plan.against, plan.metrics, plan.seeds) == ("projection", DEFAULT_METRICS, JUDGE_SEEDS)
    assert plan.store.folder is None


def test_a_plan_is_made_again_of_its_own_request(suite: Path, codec: HeartCodec) -> None:
    plan = make_plan(Request(codec=codec, suite=suite))
    again = make_plan(plan.request)
    assert (again.specs, again.seeds, again.suite) == (plan.specs, plan.seeds, plan.suite)
    assert again.settings() == plan.settings()


def test_songs_by_name_and_number(songs: Path, codec: HeartCodec) -> None:
    plan = make_plan(Request(codec=codec, files=[songs], systems=["silence"]))
    assert plan.find("b.flac").index == 1 and plan.find("b.flac").neighbour.name == "a.wav"
    with pytest.raises(ConfigError, match=r"has no song c\.wav"):
        plan.find("c.wav")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"systems": ["low"], "against": "projection"}, ConfigError, "against projection: it is not judged here"),
        ({"systems": ["projection"]}, ConfigError, "differences against low: it is not judged here"),
        ({"metrics": ["loudness", "magic"]}, ConfigError, "unknown metric .*magic: choose from stft"),
        ({"embedder": "no_such_module:Class"}, ConfigError, "embedder no_such_module:Class cannot be loaded"),
        ({"systems": ["own=projection:none.safetensors"]}, CheckpointError, "no such file"),
        ({"systems": [SystemSpec("x", "noise")]}, ConfigError, "a control keeps its own name"),
        ({"systems": ["x=tokens:nowhere"]}, ConfigError, "there is no such folder"),
    ],
)
def test_wrong_requests_are_refused_in_one_line(
    wrong: dict[str, Any], error: type[Exception], message: str, suite: Path, codec: HeartCodec
) -> None:
    with pytest.raises(error, match=message) as caught:
        make_plan(Request(codec=codec, suite=suite, **wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("3", "a system: must be a mapping, not int"),
        ("{name: x}", "a system: has no system"),
        ("{system: mp3:64, speed: 3}", "a system: unknown key speed"),
        ("{system: mp3:64, settings: fast}", "a system: settings is 'fast', of the wrong type"),
        ("{system: python:a.b, settings: {day: 2026-01-01}}", "settings hold what JSON cannot"),
        ("'=x'", "write SYSTEM or NAME=SYSTEM"),
    ],
)
def test_a_suite_s_damaged_systems_are_refused_in_one_line(entry: str, message: str, songs: Path) -> None:
    path = songs / "s.yaml"
    path.write_text(f"name: s\nsystems: [{entry}]\nsongs: [{{file: a.wav}}]")
    with pytest.raises(ConfigError, match=message) as caught:
        load_suite(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
