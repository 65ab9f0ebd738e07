"""Flags in both spellings, and the YAML file that can set any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.main

from heartopt.cli import decode, tokenize
from heartopt.cli.main import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMON = {"--codec", "--revision", "--local-files-only", "--device", "--seed", "--json", "--config"}
LONG_FLAGS = [
    (name, flag, bool(getattr(param, "is_flag", False)))
    for name, command in COMMANDS.items()
    for param in command.params
    for flag in param.opts
    if flag.startswith("--") and "-" in flag[2:]
]
NUMBERS = [
    (name, param.opts[0])
    for name, command in COMMANDS.items()
    for param in command.params
    if isinstance(param.default, float) or param.opts[0] in ("--duration", "--budget", "--max-seconds-per-song")
]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_takes_the_common_options(name: str) -> None:
    assert {flag for param in COMMANDS[name].params for flag in param.opts} >= COMMON


@pytest.mark.parametrize(("name", "flag", "is_flag"), LONG_FLAGS)
def test_both_spellings_of_each_flag_work(heartopt, name: str, flag: str, is_flag: bool) -> None:
    for spelling in (flag, "--" + flag[2:].replace("-", "_")):
        value = [] if is_flag else ["1"]
        assert heartopt(name, spelling, *value, "--help").code == 0, spelling
        if not is_flag:
            assert heartopt(name, f"{spelling}=1", "--help").code == 0, spelling
    assert heartopt(name, flag + "-x", "--help").code == 2


@pytest.mark.parametrize(("name", "flag"), NUMBERS)
def test_numbers_that_are_not_finite_are_wrong_usage(heartopt, name: str, flag: str) -> None:
    for value in ("nan", "inf"):
        ran = heartopt(name, flag, value)
        assert ran.code == 2
        assert f"Invalid value for '{flag}'" in ran.err


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `decode` would have run with."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(decode, "run", lambda _session, inputs, output, **rest: seen.update(rest, inputs=inputs))
    return seen


def test_codec_name_is_codec(heartopt, decoded: dict[str, Any]) -> None:
    assert heartopt("decode", "x.npy", "-o", "out", "--codec_name", "there").code == 0
    assert decoded["choice"].name == "there"


def test_values_with_underscores_stay_as_they_are(heartopt, decoded: dict[str, Any]) -> None:
    assert heartopt("decode", "a_b.npy", "-o", "out", "--codec", "some_folder").code == 0
    assert decoded["choice"].name == "some_folder"
    assert decoded["inputs"] == [Path("a_b.npy")]


def test_config_sets_flags_and_the_command_line_wins(heartopt, decoded: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("steps: 3\nguidance: 2\nany_codec: true\nlocal-files-only: true\noutput_dir: out\nseed: 7\n")
    assert heartopt("decode", "x.npy", "--config", config, "--seed", 9).code == 0
    settings = decoded["settings"]
    assert (settings.steps, settings.guidance, settings.any_codec, settings.seed) == (3, 2.0, True, 9)
    assert decoded["choice"].local_files_only
    assert heartopt("decode", "x.npy", "--steps", 5, "--config", config).code == 0
    assert decoded["settings"].steps == 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stepz: 3", "no flag 'stepz'; did you mean 'steps'?"),
        ("help: true", "no flag 'help'"),
        ("config: other.yaml", "no flag 'config'"),
        ("inputs: [a]", "no flag 'inputs'"),
        ("steps: many", "Invalid value for '--steps'"),
        ("steps: 0", "Invalid value for '--steps'"),
        ("steps: {a: 1}", "'steps' must be a plain value"),
        ("- steps", "must hold `flag: value` lines"),
        ("steps: [", "is not YAML"),
    ],
)
def test_a_wrong_config_is_wrong_usage(
    heartopt, decoded: dict[str, Any], tmp_path: Path, text: str, complaint: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    ran = heartopt("decode", "x.npy", "-o", "out", "--config", config)
    assert (ran.code, decoded) == (2, {})
    assert complaint in " ".join(ran.err.split())


def test_a_missing_config_is_wrong_usage(heartopt, tmp_path: Path) -> None:
    ran = heartopt("tokenize", "x.wav", "-o", "out", "--config", tmp_path / "none.yaml")
    assert ran.code == 2
    assert "No such file" in ran.err


def test_an_empty_config_changes_nothing(heartopt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("# nothing yet\n")
    monkeypatch.setattr(tokenize, "run", lambda *_args, **_rest: None)
    assert heartopt("tokenize", "x.wav", "-o", "out", "--config", tmp_path / "run.yaml").code == 0
