from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.errors import ConfigError
from heartopt.evaluation.distortions import DISTORTIONS, distortion

EXCERPTS = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts"


def music(name: str, seconds: float = 1.0) -> Tensor:
    with AudioFile(EXCERPTS / f"{name}.flac") as audio:
        return audio.read(0, round(seconds * 48_000))


@pytest.fixture(scope="module")
def song() -> Tensor:
    return music("living-caves")


@pytest.fixture(scope="module")
def other() -> Tensor:
    return music("nebula", 0.7)


def decibels(ratio: Tensor) -> float:
    return float(10 * torch.log10(ratio))


def energy(audio: Tensor) -> Tensor:
    return audio.double().square().mean()


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_distortion_keeps_the_shape_and_moves_further_with_strength(
    name: str, song: Tensor, other: Tensor
) -> None:
    kind = distortion(name)
    found = list(kind.steps(song, other))
    assert tuple(strength for strength, _ in found) == kind.strengths
    assert all(audio.shape == song.shape and audio.isfinite().all() for _, audio in found)
    errors = [float(energy(audio - song)) for _, audio in found]
    assert errors[0] < errors[-1]
    if name not in ("shift", "opus"):  # a delay's error comes and goes with the pitch, Opus changes its coder
        assert errors == sorted(errors)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_same_twice_and_the_input_stays(name: str, song: Tensor, other: Tensor) -> None:
    kind, before = DISTORTIONS[name], song.clone()
    first, second = (kind.apply(song, kind.strengths[2], other) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(song, before)


def test_noise_and_shimmer_have_the_level_asked_for(song: Tensor, other: Tensor) -> None:
    for name, tolerance in (("noise", 0.05), ("shimmer", 1e-3)):
        added = DISTORTIONS[name].apply(song, -20, other) - song
        assert decibels(energy(added) / energy(song)) == pytest.approx(-20, abs=tolerance)


def test_shimmer_lies_in_its_band(song: Tensor, other: Tensor) -> None:
    added = torch.fft.rfft(DISTORTIONS["shimmer"].apply(song, 0, other) - song).abs().square().sum(dim=0)
    frequencies = torch.fft.rfftfreq(song.shape[-1], 1 / 48_000)
    inside = (frequencies > 5_100) & (frequencies < 7_200)
    assert added[inside].sum() > 0.999 * added.sum()


def test_lowpass_keeps_what_is_below_and_nothing_above() -> None:
    time = torch.arange(48_000, dtype=torch.float64) / 48_000
    for frequency, expected in ((1_000, 0.5), (3_900, 0.5), (4_500, 0.0), (10_000, 0.0)):
        tone = torch.sin(2 * math.pi * frequency * time).expand(2, -1)
        filtered = DISTORTIONS["lowpass"].apply(tone, 4, tone)
        middle = slice(4_800, -4_800)
        assert float(energy(filtered[:, middle])) == pytest.approx(expected, abs=1e-4)
        if expected:
            assert torch.allclose(filtered[:, middle], tone[:, middle], atol=1e-3)  # neither delay nor phase


def test_quantization_rounds_to_its_step(song: Tensor, other: Tensor) -> None:
    rounded = DISTORTIONS["quantization"].apply(song, 8, other)
    assert torch.equal(rounded * 128, (rounded * 128).round())
    assert float((rounded - song).abs().max()) <= 1 / 256 + 1e-7


def test_clipping_lies_below_the_peak(song: Tensor, other: Tensor) -> None:
    clipped = DISTORTIONS["clipping"].apply(song, 6, other)
    assert float(clipped.abs().max()) == pytest.approx(float(song.abs().max()) * 10 ** (-6 / 20))
    assert torch.equal(clipped.abs().minimum(song.abs()), clipped.abs())


def test_shift_is_a_delay_by_whole_samples(song: Tensor, other: Tensor) -> None:
    delayed = DISTORTIONS["shift"].apply(song, 1, other)
    assert torch.equal(delayed[:, 48:], song[:, :-48]) and not delayed[:, :48].any()
    assert not DISTORTIONS["shift"].apply(song[:, :10], 100, other).any()


def test_gain_narrowing_and_another_song(song: Tensor, other: Tensor) -> None:
    assert torch.allclose(DISTORTIONS["gain"].apply(song, -20, other), song / 10)
    mono = DISTORTIONS["narrowing"].apply(song, 1, other)
    assert torch.allclose(mono[0], mono[1]) and torch.allclose(mono[0], song.mean(dim=0), atol=1e-7)
    whole = DISTORTIONS["other_song"].apply(song, 1, other)
    looped = other.repeat(1, 2)[:, : song.shape[-1]]
    assert decibels(energy(whole) / energy(song)) == pytest.approx(0, abs=1e-3)
    assert float(torch.nn.functional.cosine_similarity(whole, looped, dim=1).min()) == pytest.approx(1, abs=1e-5)


def test_an_unknown_distortion_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown distortion flanger: choose from noise, lowpass"):
        distortion("flanger")
