from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.metrics.perceptual import NOT_INSTALLED

EXCERPT = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts" / "living-caves.flac"


@pytest.fixture(scope="module")
def music() -> Tensor:
    with AudioFile(EXCERPT) as audio:
        return audio.read(0, 2 * 48_000)


def test_identity_scores_the_scales_top(score, music: Tensor) -> None:
    # the maxima of the mappings in ITU-T P.862.2 and P.862.1
    assert score("pesq_wb", music, music) == pytest.approx(4.644, abs=1e-3)
    assert score("pesq_nb", music, music) == pytest.approx(4.549, abs=1e-3)


def test_noise_lowers_the_score(score, music: Tensor) -> None:
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(0)) * music.std()
    found = [score("pesq_wb", music + gain * noise, music) for gain in (0.0, 0.03, 0.3, 3.0)]
    assert all(isinstance(value, float) for value in found)
    assert found == sorted(found, key=float, reverse=True)
    assert float(found[0]) - float(found[-1]) > 2


@pytest.mark.parametrize("metric", ["pesq_wb", "pesq_nb"])
def test_nothing_to_compare_is_nan(score, metric: str, music: Tensor) -> None:
    silence, dither, short = torch.zeros_like(music), 5e-5 * torch.sign(music), music[:, :480]
    pairs = ((silence, music), (music, silence), (silence, silence), (dither, music), (music, dither), (short, short))
    for pair in pairs:
        assert math.isnan(float(score(metric, *pair)))


@pytest.mark.parametrize("metric", ["pesq_wb", "pesq_nb"])
def test_channels_that_cancel_but_for_rounding_are_nan(score, metric: str, music: Tensor) -> None:
    half = music.shape[-1] // 2
    estimate = torch.stack((music[0], -music[0]))
    estimate[:, half:] = 1e-25 * music[:, half:]
    assert math.isnan(float(score(metric, estimate, music)))


def test_missing_package_is_said(score, music: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert score("pesq_wb", music, music) == NOT_INSTALLED
    assert score("pesq_nb", music, music) == NOT_INSTALLED
