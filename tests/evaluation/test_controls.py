from __future__ import annotations

import pytest
import torch

from heartopt.evaluation.controls import another_song, matched_noise, random_codes, silence
from heartopt.metrics.waveform import si_sdr


@pytest.fixture
def coloured() -> torch.Tensor:
    """Two seconds whose left channel is loud and low, its right one soft and high."""
    white = torch.fft.rfft(torch.randn(2, 96_000, generator=torch.Generator().manual_seed(2)))
    hertz = torch.fft.rfftfreq(96_000, 1 / 48_000)
    return torch.fft.irfft(white * torch.stack([hertz < 2_000, 0.1 * (hertz > 9_000)]), 96_000)


def test_noise_has_the_targets_spectrum_and_energy_but_not_its_waveform(coloured: torch.Tensor) -> None:
    noise = matched_noise(coloured, seed=0)
    assert noise.shape == coloured.shape and noise.dtype == coloured.dtype
    torch.testing.assert_close(noise.square().sum(-1), coloured.square().sum(-1), rtol=1e-4, atol=0)
    power = torch.fft.rfft(noise).abs().square()
    hertz = torch.fft.rfftfreq(96_000, 1 / 48_000)
    share = (power[0, hertz > 2_100].sum() / power[0].sum(), power[1, hertz < 8_900].sum() / power[1].sum())
    assert max(share) < 1e-3
    assert si_sdr(noise, coloured) < -15


def test_noise_follows_its_seed_alone(coloured: torch.Tensor) -> None:
    assert torch.equal(matched_noise(coloured, seed=4), matched_noise(coloured, seed=4))
    assert not torch.equal(matched_noise(coloured, seed=4), matched_noise(coloured, seed=5))


@pytest.mark.parametrize("samples", [1, 100, 3000])
def test_noise_of_short_or_silent_targets(samples: int) -> None:
    assert torch.equal(matched_noise(torch.zeros(2, samples), seed=0), torch.zeros(2, samples))
    assert torch.isfinite(matched_noise(torch.ones(2, samples), seed=0)).all()


def test_silence_is_silent(coloured: torch.Tensor) -> None:
    assert not silence(coloured).any() and silence(coloured).shape == coloured.shape


def test_another_song_is_cut_or_looped() -> None:
    other = torch.arange(6.0).reshape(2, 3)
    assert another_song(torch.zeros(2, 2), other).tolist() == [[0, 1], [3, 4]]
    assert another_song(torch.zeros(2, 7), other).tolist() == [[0, 1, 2, 0, 1, 2, 0], [3, 4, 5, 3, 4, 5, 3]]


def test_random_codes_use_every_entry() -> None:
    codes = random_codes(10 * 48_000, num_quantizers=3, codebook_size=16, seed=1)
    assert codes.shape == (3, 125) and codes.dtype == torch.int64
    assert all(set(level.tolist()) == set(range(16)) for level in codes)
    assert torch.equal(codes, random_codes(480_000, num_quantizers=3, codebook_size=16, seed=1))
