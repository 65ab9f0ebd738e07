from __future__ import annotations

import math

import pytest
import torch

from heartopt.metrics import METRICS
from heartopt.metrics.pair import Pair, Signal
from heartopt.metrics.spectral import parts


def noise(seed: int = 0, samples: int = 24_000) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def test_the_resolutions_and_the_two_terms_add_up(score) -> None:
    pair = noise(1), noise(2)
    whole = score("stft", *pair)
    assert sum(score(f"stft_{size}", *pair) for size in (512, 1024, 2048)) / 3 == pytest.approx(whole)
    assert score("stft_sc", *pair) + score("stft_log", *pair) == pytest.approx(whole)


@pytest.mark.parametrize("decibels", [-20.0, 3.0, 12.0])
def test_a_gain_in_closed_form(score, decibels: float) -> None:
    """All cells of loud noise are far above the floor, so a gain moves each by the same."""
    target = 10 * noise()
    gain = 10 ** (decibels / 20)
    assert score("lsd", gain * target, target) == pytest.approx(abs(decibels), rel=1e-3)
    assert score("stft_log", gain * target, target) == pytest.approx(abs(math.log(gain)), rel=1e-3)
    assert score("stft_sc", gain * target, target) == pytest.approx(abs(gain - 1), rel=1e-3)
    assert score("stft_phase", gain * target, target) == pytest.approx(0, abs=1e-3)


def test_unrelated_phases_differ_by_a_quarter_turn(score) -> None:
    assert score("stft_phase", noise(1), noise(2)) == pytest.approx(math.pi / 2, abs=0.02)


def test_distance_is_symmetric_where_it_is_a_distance(score) -> None:
    one, two = noise(1), 0.3 * noise(2)
    for name in ("stft_log", "stft_phase", "stft_hf", "lsd", "mel", "mel_multi", "mel_log1p"):
        assert score(name, one, two) == pytest.approx(score(name, two, one)), name
    assert score("stft_sc", one, two) != pytest.approx(score("stft_sc", two, one), rel=0.1)


def test_the_spectrum_is_looked_at_once_for_all_three() -> None:
    pair = Pair(Signal(noise(1)), Signal(noise(2)))
    first = parts(pair, 512)
    pair.estimate.audio.zero_()
    assert parts(pair, 512) == first


def test_a_silent_target_has_no_ratio(score) -> None:
    for name in ("stft", "stft_512", "stft_sc", "stft_log", "stft_log1p", "stft_phase", "lsd"):
        assert math.isnan(score(name, noise(), 1e-5 * noise(1))), name
    assert METRICS["stft"].better == "lower"
