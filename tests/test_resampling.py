"""Resampling against closed forms: sweeps and tones whose samples at both rates are known."""

from __future__ import annotations

import math

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt import resampling
from heartopt.errors import AudioError
from heartopt.resampling import resample, resample_span, resampled_length

TARGET = 48_000
RATES = [44_100, 96_000, 192_000, 8_000, 22_050]
FLOOR = -80.0  # dB below a full-scale sine


def times(rate: int, seconds: float) -> Tensor:
    return torch.arange(round(rate * seconds), dtype=torch.float64) / rate


def sweep(rate: int, low: float, high: float, seconds: float = 1.0) -> Tensor:
    """A sine whose frequency goes from ``low`` to ``high`` Hz, faded in and out over 0.1 s."""
    t = times(rate, seconds)
    fade = (t.minimum(seconds - t) / 0.1).clamp(0, 1)
    phase = 2 * math.pi * (low * t + (high - low) * t**2 / (2 * seconds))
    return torch.sin(phase) * (0.5 - 0.5 * torch.cos(math.pi * fade))


def worst_level(error: Tensor) -> float:
    """The loudest 10 ms of ``error [N]`` in dB, where a full-scale sine is 0 dB."""
    power = error.double().unfold(0, 480, 240).square().mean(-1).max()
    return float(10 * torch.log10(2 * power + 1e-30))


def off_tone(audio: Tensor, frequency: float) -> tuple[float, float]:
    """Level in dB of a tone in ``audio [N]`` at 48 kHz and of all that is not the tone, the ends left out."""
    audio = audio.double()[4_800:-4_800]
    t = torch.arange(len(audio), dtype=torch.float64) / TARGET * 2 * math.pi * frequency
    basis = torch.stack([torch.sin(t), torch.cos(t)], dim=1)
    weights = torch.linalg.lstsq(basis, audio[:, None]).solution
    return 20 * math.log10(float(weights.norm())), worst_level(audio - (basis @ weights)[:, 0])


@pytest.mark.parametrize("rate", [*RATES, 44_099])
def test_a_sweep_through_the_passband_equals_the_same_sweep_at_48_khz(rate: int) -> None:
    high = 0.93 * min(rate, TARGET) / 2  # 20.5 kHz at 44.1 kHz
    result = resample(sweep(rate, 20, high).float(), rate, TARGET)
    assert worst_level(result - sweep(TARGET, 20, high)) < FLOOR


def test_the_measure_finds_what_torchaudios_defaults_leak() -> None:
    low, high = 20, 0.93 * 22_050
    result = torchaudio.functional.resample(sweep(44_100, low, high).float(), 44_100, TARGET)
    assert worst_level(result - sweep(TARGET, low, high)) > -40


@pytest.mark.parametrize("rate", [96_000, 192_000])
def test_a_sweep_above_24_khz_leaves_nothing(rate: int) -> None:
    assert worst_level(resample(sweep(rate, 24_100, 0.49 * rate).float(), rate, TARGET)) < FLOOR


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.9, 0.93, 0.96, 0.985])
def test_a_tone_stays_one_tone(rate: int, part: float) -> None:
    """Also in the transition band, where the tone is weaker: nothing but the tone, and flat up to 0.93."""
    frequency = part * min(rate, TARGET) / 2
    tone = torch.sin(2 * math.pi * frequency * times(rate, 0.5)).float()
    level, rest = off_tone(resample(tone, rate, TARGET), frequency)
    assert rest < FLOOR
    assert abs(level) < 0.01 or part > 0.93


def test_44100_is_flat_to_20_khz() -> None:
    for frequency in (10_000, 16_000, 19_000, 20_000, 20_400):
        tone = torch.sin(2 * math.pi * frequency * times(44_100, 0.5)).float()
        assert abs(off_tone(resample(tone, 44_100, TARGET), frequency)[0]) < 0.001


@pytest.mark.parametrize("rate", [96_000, 192_000])
@pytest.mark.parametrize("frequency", [24_100, 25_000, 30_000, 36_000, 47_000])
def test_a_tone_above_24_khz_is_gone(rate: int, frequency: float) -> None:
    tone = torch.sin(2 * math.pi * frequency * times(rate, 0.5)).float()
    assert worst_level(resample(tone, rate, TARGET)[4_800:-4_800]) < FLOOR


@settings(deadline=None, max_examples=60)
@given(
    rate=st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 44_099, 48_000, 96_000, 192_000]),
    length=st.integers(1, 6_000),
    data=st.data(),
)
def test_a_part_equals_the_slice_of_the_whole(rate: int, length: int, data: st.DataObject) -> None:
    audio = torch.randn(2, length, generator=torch.Generator().manual_seed(length)) / 4
    whole = resample(audio, rate, TARGET)
    assert whole.shape == (2, math.ceil(length * TARGET / rate))
    start = data.draw(st.integers(0, whole.shape[1] - 1), label="start")
    stop = data.draw(st.integers(start + 1, whole.shape[1]), label="stop")
    part = resample_span(lambda a, b: audio[:, a:b], length, rate, TARGET, start, stop)
    torch.testing.assert_close(part, whole[:, start:stop], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [44_100, 44_099, 192_000])
def test_spans_join_without_a_seam(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    audio = torch.randn(1, rate // 4, generator=torch.Generator().manual_seed(0)) / 4
    at_once = resample(audio, rate, TARGET)
    monkeypatch.setattr(resampling, "_SPAN", 1_000)
    torch.testing.assert_close(resample(audio, rate, TARGET), at_once, rtol=0, atol=1e-5)


def test_both_ways_of_weighing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = torch.randn(2, 5_000, generator=torch.Generator().manual_seed(0)) / 4
    by_torchaudio = resample(audio, 44_100, TARGET)
    monkeypatch.setattr(resampling, "_LARGEST_KERNEL", 0)
    torch.testing.assert_close(resample(audio, 44_100, TARGET), by_torchaudio, rtol=0, atol=2e-5)


def test_a_part_reads_only_what_it_needs() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return torch.zeros(1, stop - start)

    resample_span(read, 44_100 * 600, 44_100, TARGET, 48_000 * 300, 48_000 * 301)
    [(start, stop)] = asked
    assert 0 <= 44_100 * 300 - start < 500
    assert 0 <= stop - 44_100 * 301 < 500


def test_lengths_are_exact_where_float32_is_not() -> None:
    """torchaudio rounds the length to float32, which is off from six minutes on."""
    samples = 44_100 * 3600 + 1
    assert resampled_length(samples, 44_100, TARGET) == 48_000 * 3600 + 2
    last = resample_span(lambda a, b: torch.ones(1, b - a), samples, 44_100, TARGET, 48_000 * 3600, 48_000 * 3600 + 2)
    assert last.shape == (1, 2)


def test_equal_rates_change_nothing() -> None:
    audio = torch.randn(2, 100)
    assert torch.equal(resample(audio, TARGET, TARGET), audio)


def test_float64_and_gradients_pass() -> None:
    audio = torch.randn(300, dtype=torch.float64, requires_grad=True)
    result = resample(audio, 22_050, TARGET)
    assert result.dtype == torch.float64
    result.square().sum().backward()
    assert audio.grad is not None
    assert float(audio.grad.abs().min()) > 0


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (torch.zeros(10, dtype=torch.int16), 44_100, "floating-point"),
        (torch.tensor(1.0), 44_100, "floating-point"),
        (torch.zeros(2, 0), 44_100, "not in a signal of 0 samples"),
        (torch.zeros(10), 0, "cannot resample from 0 Hz"),
    ],
)
def test_what_cannot_be_resampled_is_refused(audio: Tensor, rate: int, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        resample(audio, rate, TARGET)
