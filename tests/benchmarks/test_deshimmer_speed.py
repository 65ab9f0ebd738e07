"""The NumPy loop that the deshimmer is timed against: the same method, against the reference's stored output."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from heartopt.errors import HeartoptError
from heartopt.shimmer import DeshimmerParams

ROOT = Path(__file__).parents[2]


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("deshimmer_speed")


def test_the_loop_is_the_reference(speed: Any) -> None:
    with np.load(ROOT / "tests/data/deshimmer_io.npz") as golden:
        found = speed.numpy_loop(golden["input"], 48_000, DeshimmerParams())
        np.testing.assert_allclose(found, golden["default"], rtol=1e-4, atol=2e-5)


def test_two_sides_that_differ_are_not_timed(speed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "numpy_loop", lambda audio, rate, params: audio + 0.1)
    with pytest.raises(HeartoptError, match="differ"):
        speed.measure(torch.zeros(2, 9_000), DeshimmerParams(), 1)


def test_the_whole_of_it(speed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = 0.1 * np.random.default_rng(0).standard_normal((24_000, 2))
    soundfile.write(tmp_path / "song.wav", audio, 48_000)
    threads = torch.get_num_threads()
    try:
        assert speed.main([str(tmp_path / "song.wav"), "--repeats", "2", "--report", str(tmp_path)]) == 0
    finally:
        torch.set_num_threads(threads)
    text = (tmp_path / "deshimmer.md").read_text()
    assert "| ratio | " in text and "2 turns" in text
    assert text in capsys.readouterr().out
    assert speed.main([str(tmp_path / "none.wav")]) == 1
