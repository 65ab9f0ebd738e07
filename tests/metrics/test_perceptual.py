from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.metrics.measuring import Metric
from heartopt.metrics.perceptual import NOT_INSTALLED, pesq_nb, pesq_wb

EXCERPT = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts" / "living-caves.flac"


@pytest.fixture(scope="module")
def music() -> Tensor:
    with AudioFile(EXCERPT) as audio:
        return audio.read(0, 2 * 48_000)


def test_identity_scores_the_scales_top(music: Tensor) -> None:
    # the maxima of the mappings in ITU-T P.862.2 and P.862.1
    assert pesq_wb(music, music) == pytest.approx(4.644, abs=1e-3)
    assert pesq_nb(music, music) == pytest.approx(4.549, abs=1e-3)


def test_noise_lowers_the_score(music: Tensor) -> None:
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(0)) * music.std()
    scores = [pesq_wb(music + gain * noise, music) for gain in (0.0, 0.03, 0.3, 3.0)]
    assert all(isinstance(score, float) for score in scores)
    assert scores == sorted(scores, key=float, reverse=True)
    assert float(scores[0]) - float(scores[-1]) > 2


@pytest.mark.parametrize("metric", [pesq_wb, pesq_nb])
def test_nothing_to_compare_is_nan(metric: Metric, music: Tensor) -> None:
    silence = torch.zeros_like(music)
    for pair in ((silence, music), (music, silence), (silence, silence), (music[:, :480], music[:, :480])):
        assert math.isnan(float(metric(*pair)))


def test_missing_package_is_said(music: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert pesq_wb(music, music) == NOT_INSTALLED
    assert pesq_nb(music, music) == NOT_INSTALLED
