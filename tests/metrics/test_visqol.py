from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.metrics.perceptual import NOT_INSTALLED
from heartopt.metrics.visqol import _model, visqol

EXCERPT = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts" / "living-caves.flac"


@pytest.fixture(scope="module")
def music() -> Tensor:
    with AudioFile(EXCERPT) as audio:
        return audio.read(0, round(1.2 * 48_000))


@pytest.fixture
def no_model_kept() -> Iterator[None]:
    _model.cache_clear()
    yield
    _model.cache_clear()


def test_identity_is_near_the_top_and_noise_lowers_it(music: Tensor) -> None:
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(0)) * music.std()
    scores = [float(visqol(music + gain * noise, music)) for gain in (0.0, 0.003, 0.1)]
    assert scores[0] == pytest.approx(4.7321, abs=1e-4)  # what the original gives for a perfect copy
    assert scores[0] > scores[1] + 0.2 > scores[2] + 1 > 2


def test_blind_to_gain_and_stereo(music: Tensor) -> None:
    changed = 0.1 * music.mean(dim=0, keepdim=True).expand(2, -1)
    assert visqol(changed, music) == pytest.approx(4.7321, abs=1e-4)


def test_silence_and_shreds_are_nan(music: Tensor) -> None:
    silence = torch.zeros_like(music)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pair in ((silence, music), (music, silence), (silence, silence), (5e-5 * music.sign(), music)):
            assert math.isnan(float(visqol(*pair)))
        for samples in (1, 1_440, 24_000):
            assert math.isnan(float(visqol(music[:, :samples], music[:, :samples])))


def test_missing_package_is_said(music: Tensor, monkeypatch: pytest.MonkeyPatch, no_model_kept: None) -> None:
    monkeypatch.setitem(sys.modules, "visqol", None)
    assert visqol(music, music) == NOT_INSTALLED
