"""FLAC keeps what 16 bits hold; gains make takes as loud as the original; the anchor is BS.1534's."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from torch import Tensor

from heartopt.report.listening import sound

RATE = 48_000


def sine(hertz: float, level: float, seconds: float = 1.0, channels: int = 2) -> Tensor:
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return (level * torch.sin(2 * math.pi * hertz * time)).float().expand(channels, -1)


def decoded(flac: sound.Flac) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(flac.data), dtype="int16", always_2d=True)
    assert rate == RATE
    return samples.T


@pytest.mark.parametrize("channels", [1, 2])
def test_flac_keeps_sixteen_bits_exactly(channels: int) -> None:
    integers = torch.randint(-32768, 32768, (channels, 5_000), generator=torch.Generator().manual_seed(0))
    integers = integers.clamp(-32767)
    flac = sound.to_flac(integers.float() / 32768)
    assert flac.scale == 1
    np.testing.assert_array_equal(decoded(flac), integers.numpy())


@settings(max_examples=25, deadline=None)
@given(peak=st.floats(0.001, 40.0), samples=st.integers(1, 3_000))
def test_flac_and_scale_give_the_sound_back(peak: float, samples: int) -> None:
    audio = peak * torch.cos(torch.arange(samples)).reshape(1, -1)
    flac = sound.to_flac(audio)
    assert flac.scale >= 1
    np.testing.assert_allclose(decoded(flac) / 32768 * flac.scale, audio.numpy(), atol=0.51 * flac.scale / 32768)


def test_loudness_of_a_full_scale_sine_is_that_of_the_standard() -> None:
    # ITU-R BS.1770: 997 Hz at full scale in one channel of a pair reads -3.01 LKFS.
    left = torch.cat([sine(997, 1.0, 3.0, 1), torch.zeros(1, 3 * RATE)])
    assert sound.loudness(left) == pytest.approx(-3.01, abs=0.05)  # as near as pyloudnorm comes


def test_mono_is_as_loud_as_the_two_speakers_that_play_it() -> None:
    mono = sine(440, 0.2, channels=1)
    assert sound.loudness(mono) == pytest.approx(sound.loudness(mono.repeat(2, 1)))


def test_short_sounds_are_measured_by_their_rms() -> None:
    assert sound.loudness(sine(1_000, 0.1, 0.1)) == pytest.approx(20 * math.log10(0.1) - 3.01, abs=0.01)


@pytest.mark.parametrize("seconds", [0.03, 2.0])
def test_the_gain_undoes_a_change_of_level(seconds: float) -> None:
    original = torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0)) * 0.1
    for decibels in (-12.0, 0.0, 6.0):
        gain, apart = sound.matching_gain(original * 10 ** (decibels / 20), original)
        assert (gain, apart) == pytest.approx((-decibels, 0), abs=0.01)


def test_the_gain_is_bounded_and_leaves_silence_alone() -> None:
    original = sine(440, 0.5)
    assert sound.matching_gain(original * 1e-2, original) == pytest.approx((sound.MOST_GAIN_DB, -20), abs=0.01)
    assert sound.matching_gain(original, original * 1e-2) == pytest.approx((-sound.MOST_GAIN_DB, 20), abs=0.01)
    for silent in (torch.zeros(2, RATE), torch.zeros(2, 100)):
        assert sound.matching_gain(silent, original) == (0, None)
        assert sound.matching_gain(original[:, : silent.shape[1]], silent) == (0, None)


def test_the_anchor_keeps_to_the_standard_s_slope() -> None:
    click = torch.zeros(1, RATE)
    click[0, RATE // 2] = 1
    response = sound.low_anchor(click)[0].double().numpy()
    hertz, gains = signal.freqz(response, worN=8192, fs=RATE)
    decibels = 20 * np.log10(np.abs(gains) + 1e-12)
    assert np.abs(decibels[hertz <= 3_400]).max() < 0.1
    assert decibels[hertz >= 4_000].max() < -25
    assert decibels[hertz >= 4_500].max() < -50
    assert response.argmax() == RATE // 2  # in time


@pytest.mark.parametrize("samples", [1, 50, 5_000])
def test_the_anchor_is_as_long_as_its_original(samples: int) -> None:
    assert sound.low_anchor(torch.ones(2, samples)).shape == (2, samples)
