"""The script that cuts suites out of packages, on a package made here; nothing is fetched."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from heartopt.errors import AudioError, ConfigError
from heartopt.evaluation import load_suite
from heartopt.files import sha256_of

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "build_suite.py"
RATE = 44_100


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_suite", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """`music/pkg/usr/song.wav`: two seconds of a ramp."""
    path = tmp_path / "music" / "pkg" / "usr" / "song.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.linspace(-0.5, 0.5, 2 * RATE), RATE)
    return tmp_path / "music"


@pytest.fixture
def suite(tmp_path: Path, music: Path) -> Path:
    digest = sha256_of(music / "pkg" / "usr" / "song.wav")
    source = {"package": "pkg", "path": "usr/song.wav", "sha256": digest, "start": 0.5, "seconds": 1.0}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "songs": [{"file": "cut/song.flac", "source": source}]}))
    return path


def change(suite: Path, **source: Any) -> None:
    record = yaml.safe_load(suite.read_text())
    record["songs"][0]["source"] |= source
    suite.write_text(yaml.safe_dump(record))


def test_cuts_the_excerpt_at_the_songs_own_rate(script: ModuleType, suite: Path, music: Path) -> None:
    (written,) = script.build_suite(suite, music=music)
    audio, rate = soundfile.read(written)
    assert (rate, len(audio)) == (RATE, RATE)
    np.testing.assert_allclose(audio, np.linspace(-0.5, 0.5, 2 * RATE)[RATE // 2 : 3 * RATE // 2], atol=1e-4)
    assert load_suite(suite).songs[0].read().shape == (2, 48_000)


def test_another_folder_gets_the_suite_with_hashes(
    script: ModuleType, suite: Path, music: Path, tmp_path: Path
) -> None:
    arguments = [str(suite), "--music", str(music / "pkg"), "--output", str(tmp_path / "out")]
    assert script.main(arguments) == 0
    built = load_suite(tmp_path / "out" / "own.yaml")
    assert built.songs[0].details["sha256"] == sha256_of(tmp_path / "out" / "cut" / "song.flac")
    assert not (tmp_path / "cut").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256 is"),
        ({"path": "usr/none.ogg"}, r"holds no usr/none\.ogg \(Debian package pkg\)"),
        ({"seconds": 9.0}, r"lasts 2\.00 s, the suite wants 0\.5 \+ 9 s"),
    ],
)
def test_songs_that_are_not_the_suites_are_refused(
    source: dict[str, Any], message: str, script: ModuleType, suite: Path, music: Path
) -> None:
    change(suite, **source)
    with pytest.raises(AudioError, match=message):
        script.build_suite(suite, music=music)
    assert not (suite.parent / "cut").exists()


def test_suites_without_sources_are_refused(script: ModuleType, suite: Path) -> None:
    for text in ("- 1", "songs: [{file: a.wav}]", "songs: [{source: {package: p}}]"):
        suite.write_text(text)
        with pytest.raises(ConfigError, match=r"own\.yaml"):
            script.build_suite(suite)


def test_packages_are_fetched_once(
    script: ModuleType, suite: Path, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def run(command: list[str], *, cwd: Path, **_: Any) -> None:
        calls.append(command[0])
        if command[0] == "apt-get":
            (cwd / "pkg_1_all.deb").touch()
        else:
            (music / "pkg").rename(cwd / "pkg")

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        script.build_suite(suite, cache=tmp_path / "cache")
    assert calls == ["apt-get", "dpkg"]


def test_a_machine_without_apt_is_told_what_to_do(
    script: ModuleType, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.main([str(suite), "--cache", str(tmp_path / "cache")]) == 1
    assert "error: apt-get is not on this machine" in capsys.readouterr().err
