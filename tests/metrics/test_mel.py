from __future__ import annotations

import pytest
import torch
import torchaudio

from heartopt.metrics.mel import SCALES, _bank


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 24_000, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("decades", [-0.5, 0.25])
def test_a_gain_in_closed_form(score, decades: float) -> None:
    """Bands that have a bin at all move by the gain; at short windows some have none and stay at the floor."""
    target = noise()
    assert score("mel", 10**decades * target, target) == pytest.approx(abs(decades), rel=1e-3)
    filled = 0.0
    for bins, size in SCALES:
        bank = _bank(bins, size, target.device, target.dtype)
        filled += sum(int(weights.any(dim=1).sum()) for _, weights in bank) / bins
    assert score("mel_multi", 10**decades * target, target) == pytest.approx(filled * abs(decades), rel=0.02)
    assert filled > 0.9 * len(SCALES)


def test_all_scales_hear_what_differs(score) -> None:
    one, two = noise(1), noise(2)
    assert score("mel_multi", one, two) > score("mel", one, two) > 0
    assert score("mel_multi", one, one) == score("mel", one, one) == 0


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
def test_it_is_the_sum_over_scales_of_an_independent_computation(score) -> None:
    one, two = noise(1)[:1], noise(2)[:1]
    total = 0.0
    for bins, size in SCALES:
        transform = torchaudio.transforms.MelSpectrogram(
            48_000, size, hop_length=size // 4, n_mels=bins, power=1.0, norm="slaney", mel_scale="slaney"
        )
        logs = [transform(x).clamp(min=1e-5).log10() for x in (one, two)]
        total += float((logs[0] - logs[1]).abs().mean())
    assert score("mel_multi", one, two) == pytest.approx(total, rel=1e-4)
