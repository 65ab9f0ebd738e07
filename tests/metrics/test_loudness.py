from __future__ import annotations

import math

import pytest
import torch

from heartopt.metrics.loudness import loudness
from heartopt.metrics.pair import Signal


def tone(seconds: float = 1.0, channels: int = 2) -> torch.Tensor:
    """997 Hz at full scale."""
    return torch.sin(2 * math.pi * 997 * torch.arange(round(48_000 * seconds)) / 48_000).expand(channels, -1)


def test_a_full_scale_tone_is_at_the_standards_level() -> None:
    """BS.1770: 997 Hz at 0 dBFS in one channel is -3.01 LUFS; in two, 3.01 more."""
    assert loudness(Signal(tone(channels=1))) == pytest.approx(-3.01, abs=0.1)
    assert loudness(Signal(tone())) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("decibels", [-12.0, -1.0, 6.0])
@pytest.mark.parametrize("seconds", [0.03, 1.0])
def test_it_is_the_gain(score, decibels: float, seconds: float) -> None:
    target = 0.5 * tone(seconds)
    assert score("loudness_db", 10 ** (decibels / 20) * target, target) == pytest.approx(decibels, abs=0.01)


def test_no_number_leads_from_silence_to_sound(score) -> None:
    silence = torch.zeros(2, 48_000)
    for pair in ((silence, tone()), (tone(), silence), (silence, silence)):
        assert math.isnan(score("loudness_db", *pair))
