from __future__ import annotations

import pytest
import torch

from heartopt.metrics.waveform import delay, si_sdr


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


@pytest.mark.parametrize("level", [1e-6, 0.1, 1e-9 / 3])
def test_a_constant_is_silence(level: float) -> None:
    constant, silence = torch.full((1, 21_001), level), torch.zeros(1, 21_001)
    assert si_sdr(constant, silence) == si_sdr(silence, constant) == 100
    assert si_sdr(constant, music(21_001)[:1]) == -100


def music(samples: int = 48_000) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("late", [-2400, -37, 0, 1, 480, 2400])
def test_the_delay_is_found_and_taken_back(score, late: int) -> None:
    whole = music(54_000)
    target, estimate = whole[:, 3000:51_000], whole[:, 3000 - late : 51_000 - late]
    assert delay(estimate, target) == late
    assert score("delay_ms", estimate, target) == pytest.approx(late / 48)
    assert score("si_sdr_aligned", estimate, target) > 90
    assert (score("si_sdr", estimate, target) > 90) == (late == 0)


def test_delays_are_looked_for_within_fifty_milliseconds() -> None:
    whole = music(60_000)
    assert abs(delay(whole[:, :48_000], whole[:, 6000:54_000])) <= 2400


@pytest.mark.parametrize("samples", [1, 2, 30, 1440])
def test_short_and_silent_audio_has_a_delay_of_its_own(samples: int) -> None:
    assert delay(music(samples), music(samples)) == 0
    assert delay(torch.zeros(2, samples), music(samples)) == 0
    assert delay(torch.full((2, samples), 0.1), music(samples)) == 0  # no rounding is correlated


def test_an_inverted_copy_is_not_late() -> None:
    assert delay(-music(), music()) == 0
