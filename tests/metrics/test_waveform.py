from __future__ import annotations

import pytest
import torch

from heartopt.metrics.waveform import si_sdr


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A signal and a noise of the same energy that is orthogonal to it in sum over the channels."""
    generator = torch.Generator().manual_seed(1)
    signal, noise = torch.randn(2, 2, 9600, generator=generator, dtype=torch.float64)
    signal, noise = (x - x.mean(dim=-1, keepdim=True) for x in (signal, noise))
    noise = noise - (noise * signal).sum() / signal.square().sum() * signal
    return signal, noise * (signal.square().sum() / noise.square().sum()).sqrt()


@pytest.mark.parametrize("decibels", [-20.0, 0.0, 30.0])
def test_equals_the_ratio_of_orthogonal_parts(decibels: float, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    signal, noise = pair
    estimate = signal + 10 ** (-decibels / 20) * noise
    assert si_sdr(estimate, signal) == pytest.approx(decibels, abs=1e-6)
    assert si_sdr(0.1 * estimate + 0.5, signal) == pytest.approx(decibels, abs=1e-6)


def test_limits(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    signal, noise = pair
    silence = torch.zeros_like(signal)
    assert si_sdr(signal, signal) == 100
    assert si_sdr(silence, silence) == 100
    assert si_sdr(silence, signal) == -100
    assert si_sdr(signal, silence) == -100
    assert si_sdr(noise, signal) == -100
