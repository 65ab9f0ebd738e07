"""What the metrics' speed report counts, from times that are given."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from heartopt.metrics import DEFAULT_METRICS, METRICS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("evaluate_speed")


def turns(speed: Any, *factors: float) -> list[dict[str, tuple[float, float]]]:
    """10 ms of CPU and 20 of wall for every part, times the turn's factor."""
    names = (*speed.SHARED, *DEFAULT_METRICS, *speed.EXTRA, speed.AGAIN)
    return [{name: (0.01 * factor, 0.02 * factor) for name in names} for factor in factors]


def test_totals_are_medians_of_sums_over_metrics_and_what_they_share(speed: Any) -> None:
    found = speed.summary(turns(speed, 1.0, 2.0, 9.0), 30.0)
    default = len(DEFAULT_METRICS) + len(speed.SHARED)
    every = default + len(speed.EXTRA)
    assert every == len(METRICS) - 1 + len(speed.SHARED), "all but ViSQOL"
    assert found["whole"]["cpu_seconds"] == pytest.approx(0.02 * every)
    assert found["whole"]["wall_seconds"] == pytest.approx(0.04 * every)
    assert found["whole"]["of_real_time"] == pytest.approx(0.02 * every / 30)
    assert found["default"]["cpu_seconds"] == pytest.approx(0.02 * default)
    assert found["default_without_pesq"]["cpu_seconds"] == pytest.approx(0.02 * (default - 3))  # and its resampling
    assert found["another_estimate"]["cpu_seconds"] == pytest.approx(0.02)
    shares = [part["share"] for part in found["parts"].values()]
    assert len(shares) == every and sum(shares) == pytest.approx(1)


def test_a_set_over_budget_is_said_to_be(speed: Any) -> None:
    for factor, word in ((1.0, "are within 0.1"), (50.0, "are **not** within 0.1")):
        record = speed.summary(turns(speed, factor), 30.0) | {"machine": speed.machine()}
        assert record["within_budget"] == (factor == 1.0)
        assert word in speed.page(record)


def test_short_songs_are_joined_and_repeated(speed: Any, tmp_path: Path) -> None:
    for name, value in (("a", 0.25), ("b", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", np.full((4800, 2), value), 48_000, subtype="FLOAT")
    audio = speed.excerpt([tmp_path / "a.wav", tmp_path / "b.wav"], 0.25)
    assert audio.shape == (2, 12_000)
    expected = torch.tensor([0.25, 0.5, 0.25]).repeat_interleave(4800)[:12_000]
    assert torch.equal(audio, expected.expand(2, -1))


def test_the_whole_of_it(speed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = 0.1 * np.random.default_rng(0).standard_normal((24_000, 2))
    soundfile.write(tmp_path / "song.wav", audio, 48_000)
    threads = torch.get_num_threads()
    try:
        done = speed.main(
            [str(tmp_path / "song.wav"), "--seconds", "1", "--repeats", "2", "--report", str(tmp_path / "reports")]
        )
    finally:
        torch.set_num_threads(threads)
    assert done == 0
    text = (tmp_path / "reports" / "evaluate_speed.md").read_text()
    assert "| `mel_multi` | " in text and "2 turns" in text and text in capsys.readouterr().out
    record = json.loads((tmp_path / "reports" / "evaluate_speed.json").read_text())
    assert record["seconds"] == 1 and all(part["cpu_seconds"] >= 0 for part in record["parts"].values())
    assert speed.page(record) == text
    for arguments in ([str(tmp_path / "none.wav")], [str(tmp_path / "song.wav"), "--seconds", "0"]):
        assert speed.main([*arguments, "--report", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
