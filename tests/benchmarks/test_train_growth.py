"""Excerpts, fits and the plot of the growing corpus; the whole of it on the tiny codec."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from heartopt.errors import ConfigError
from heartopt.files import sha256_of

ROOT = Path(__file__).parents[2]
CODEC = ROOT / "tests" / "data" / "codec"
RATE = 48_000


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("train_growth")


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    """Noise: 4.5 s, and 2.5 s whose second second is silent."""
    folder = tmp_path / "songs"
    folder.mkdir()
    random = np.random.default_rng(0)
    audio = [0.3 * random.standard_normal((round(seconds * RATE), 2)) for seconds in (4.5, 2.5)]
    audio[1][RATE : 2 * RATE] = 0
    paths = [folder / "a.wav", folder / "b.wav"]
    for path, samples in zip(paths, audio, strict=True):
        soundfile.write(path, samples.clip(-1, 1), RATE)
    return paths


def test_excerpts_differ_and_the_smaller_corpus_is_part_of_the_larger(
    growth: Any, songs: list[Path], tmp_path: Path
) -> None:
    excerpts = growth.cut_excerpts(songs, tmp_path / "cut", count=5, seconds=1.0)
    assert [path.name for path in excerpts] == [f"{turn:03d}-{song:03d}.flac" for turn, song in
                                                ((0, 0), (0, 1), (1, 0), (2, 0), (3, 0))]  # fmt: skip
    assert len({sha256_of(path) for path in excerpts}) == 5
    third, _ = soundfile.read(excerpts[3])
    whole, _ = soundfile.read(songs[0])
    np.testing.assert_allclose(third, whole[2 * RATE : 3 * RATE], atol=1e-4)
    assert growth.cut_excerpts(songs, tmp_path / "fewer", count=2, seconds=1.0)[1].name == excerpts[1].name
    with pytest.raises(ConfigError, match="hold 5 excerpts of 1 s, 6 are needed"):
        growth.cut_excerpts(songs, tmp_path / "more", count=6, seconds=1.0)


def test_fits_of_a_line_and_of_a_constant(growth: Any) -> None:
    rows = [{"songs": n, "fill_seconds": 3.0 * n, "step_seconds": 0.5} for n in (10, 40, 100)]
    line = growth.fit(rows, "fill_seconds", linear=True)
    assert line == pytest.approx({"slope_a_song": 3, "intercept": 0, "off_the_line": 0, "end_ratio": 1}, abs=1e-9)
    flat = growth.fit(rows, "step_seconds", linear=False)
    assert flat == pytest.approx({"slope_a_song": 0, "intercept": 0.5, "off_the_line": 0, "end_ratio": 1}, abs=1e-9)
    rows[-1] = {"songs": 100, "fill_seconds": 600.0, "step_seconds": 1.0}
    assert growth.fit(rows, "fill_seconds", linear=True)["end_ratio"] == pytest.approx(2)
    assert growth.fit(rows, "fill_seconds", linear=True)["off_the_line"] > 0.02
    assert growth.fit(rows, "step_seconds", linear=False)["end_ratio"] == pytest.approx(2)


def test_repeats_become_medians(growth: Any) -> None:
    runs = [[{"songs": 2, "step_seconds": value} for value in (1.0, 9.0, 2.0)]]
    assert growth.median_rows(runs) == [{"songs": 2, "step_seconds": 2.0}]


def test_the_whole_of_it(growth: Any, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "in_own_process", lambda function, *arguments: function(*arguments))
    arguments = ["--data-dir", str(songs[0].parent), "--codec", str(CODEC), "--sizes", "3", "2", "--threads", "1"]
    outputs = ["--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "plots" / "out.png")]
    small = ["--excerpt-seconds", "1.0", "--batch-size", "1", "--max-duration", "0.48"]
    assert growth.main([*arguments, *outputs, *small]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["songs"] for row in found["rows"]] == [2, 3]
    # 1 s is 26 latent frames (a whole number of code frames), two crops of 12.
    assert [row["steps"] for row in found["rows"]] == [4, 6]
    assert [row["audio_seconds"] for row in found["rows"]] == pytest.approx([2 * 1.04, 3 * 1.04])
    for row in found["rows"]:
        assert 0 < row["step_seconds"] < row["epoch_seconds"]
        assert 0 < row["codec_mb"] <= row["fill_peak_mb"] <= row["train_peak_mb"]
    assert set(found["fits"]) == {"fill_seconds", "epoch_seconds", "step_seconds", "fill_peak_mb", "train_peak_mb"}
    assert (tmp_path / "plots" / "out.png").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_done_is_one_line(growth: Any, songs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--data-dir", str(songs[0].parent), "--codec", str(CODEC)]) == 1
    assert "error: the songs hold 0 excerpts of 30 s, 101 are needed" in capsys.readouterr().err
