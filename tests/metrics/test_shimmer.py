from __future__ import annotations

import math

import pytest
import torch

from heartopt.deshimmer import deshimmer, find_shimmer
from heartopt.metrics import METRICS
from heartopt.metrics.pair import Pair, Signal
from heartopt.shimmer import DeshimmerParams

RATE = 48_000


def shimmer_excess(estimate: torch.Tensor, target: torch.Tensor) -> float:
    return float(METRICS["shimmer_excess"].compute(Pair(Signal(estimate), Signal(target))))


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


def tone(hertz: float, level: float) -> torch.Tensor:
    return level * torch.sin(2 * math.pi * hertz * torch.arange(2 * RATE) / RATE).expand(2, -1)


@pytest.mark.parametrize("decibels", [-12.0, 6.0])
def test_levels_are_those_of_their_bands(score, decibels: float) -> None:
    quiet = tone(1_000, 0.1)
    in_both, in_wide = tone(6_000, 0.1), tone(4_500, 0.1)
    louder = 10 ** (decibels / 20)
    for name in ("shimmer_db", "shimmer_band_db"):
        assert score(name, quiet + louder * in_both, quiet + in_both) == pytest.approx(decibels, abs=0.01)
    assert score("shimmer_db", quiet + louder * in_wide, quiet + in_wide) == pytest.approx(decibels, abs=0.01)
    # a tone in 4-5.1 kHz reaches 5.1-7.2 kHz only by the window's skirts
    assert abs(score("shimmer_band_db", in_both + louder * in_wide, in_both + in_wide)) < 0.01


def test_the_b_side_is_measured_after_the_deshimmer(score, noise: torch.Tensor) -> None:
    ringing = noise + ring(0.002)
    cleaned = deshimmer(ringing, RATE)
    assert not torch.equal(cleaned, ringing)
    for name in ("shimmer_db", "shimmer_excess"):
        assert score(f"{name}_deshimmered", ringing, noise) == score(name, cleaned, noise)
