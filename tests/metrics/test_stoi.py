from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.metrics.perceptual import NOT_INSTALLED
from heartopt.metrics.stoi import stoi

EXCERPT = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts" / "living-caves.flac"


@pytest.fixture(scope="module")
def music() -> Tensor:
    with AudioFile(EXCERPT) as audio:
        return audio.read(0, 2 * 48_000)


def test_identity_is_one_and_noise_lowers_it(music: Tensor) -> None:
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(0)) * music.std()
    scores = [float(stoi(music + gain * noise, music)) for gain in (0.0, 0.03, 0.3, 3.0)]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.7


def test_blind_to_gain_to_stereo_and_to_the_highest(music: Tensor) -> None:
    assert stoi(music * 0.1, music) == pytest.approx(1, abs=1e-6)
    assert stoi(music.mean(dim=0, keepdim=True).expand(2, -1), music) == pytest.approx(1, abs=1e-6)
    time = torch.arange(music.shape[-1], dtype=torch.float64) / 48_000
    assert stoi(music + (0.1 * torch.sin(2 * math.pi * 8_000 * time)).float(), music) == pytest.approx(1, abs=1e-3)


def test_silence_and_shreds_are_nan(music: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for samples in (1, 480, 12_000):
            assert math.isnan(float(stoi(music[:, :samples], music[:, :samples])))
        click = torch.zeros_like(music)
        click[:, 48_000:50_000] = music[:, 48_000:50_000]
        assert math.isnan(float(stoi(click, click)))
        assert math.isnan(float(stoi(music, torch.zeros_like(music))))
    assert stoi(torch.zeros_like(music), music) == 0


def test_missing_package_is_said(music: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi", None)
    assert stoi(music, music) == NOT_INSTALLED
