from __future__ import annotations

import math

import pytest
import torch

from heartopt.deshimmer import deshimmer, find_shimmer
from heartopt.metrics.shimmer import shimmer_excess
from heartopt.shimmer import DeshimmerParams

RATE = 48_000


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return 0.02 * torch.randn(2, 2 * RATE, generator=torch.Generator().manual_seed(0))


def ring(level: float) -> torch.Tensor:
    """Tones at the centres of three bins of the band."""
    time = torch.arange(2 * RATE) / RATE
    return level * sum(torch.sin(2 * math.pi * bin_ * RATE / 2048 * time) for bin_ in (235, 261, 290))


def test_a_copy_has_none(noise: torch.Tensor) -> None:
    assert shimmer_excess(noise, noise) == 0
    assert shimmer_excess(0.5 * noise, noise) == pytest.approx(0, abs=1e-5)  # the level does not matter


def test_it_is_the_share_of_cells_that_were_added(noise: torch.Tensor) -> None:
    """A loud tone stands out in the three bins that a Hann window spreads it over, in each frame."""
    found = find_shimmer(noise, RATE)
    added = shimmer_excess(noise + ring(0.02), noise)
    bins = len(found.hertz)
    assert added == pytest.approx(9 / bins, abs=0.03)
    assert shimmer_excess(noise, noise + ring(0.02)) == pytest.approx(-added)


def test_it_rises_with_the_ringing(noise: torch.Tensor) -> None:
    excess = [shimmer_excess(noise + ring(level), noise) for level in (0, 0.001, 0.002, 0.004, 0.008)]
    assert excess == sorted(excess) and excess[-1] > 0.02


def test_the_deshimmer_lowers_it(noise: torch.Tensor) -> None:
    ringing = noise + ring(0.006)
    eager = DeshimmerParams(slope=1.0, density=(0.05, 0.5), flatness=(0.0, 0.2))
    assert shimmer_excess(deshimmer(ringing, RATE, eager), noise) < 0.5 * shimmer_excess(ringing, noise)


def test_silence_on_either_side_is_a_number(noise: torch.Tensor) -> None:
    silence = torch.zeros_like(noise)
    assert shimmer_excess(silence, silence) == 0
    assert shimmer_excess(silence, noise) == -find_shimmer(noise, RATE).share
