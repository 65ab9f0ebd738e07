"""What holds for any audio, in every metric of the default set and the deshimmered ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heartopt.metrics import DEFAULT_METRICS, METRICS, measure

NAMES = (*DEFAULT_METRICS, "shimmer_db_deshimmered", "shimmer_excess_deshimmered")
SYMMETRIC = ("stft_log", "stft_phase", "stft_hf", "lsd", "mel", "mel_multi", "mel_log1p")
SIGNED = ("shimmer_db", "shimmer_band_db", "shimmer_excess", "loudness_db")
LIMITS = {
    "si_sdr": (-100, 100),
    "si_sdr_aligned": (-100, 100),
    "delay_ms": (-50, 50),
    "stft_phase": (0, math.pi + 1e-5),
    "shimmer_excess": (-1, 1),
    "pesq_wb": (1, 4.65),
    "pesq_nb": (1, 4.56),
}


def sound(kind: str, level: float, channels: int, samples: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(channels, samples, generator=generator)
    if kind == "silence":
        audio = torch.zeros_like(audio)
    elif kind == "constant":
        audio = torch.ones_like(audio)
    elif kind == "click":
        audio = torch.zeros_like(audio)
        audio[:, int(torch.randint(samples, (1,), generator=generator))] = 1
    elif kind == "square":
        audio = audio.sign()
    elif kind == "half":
        audio[:, samples // 2 :] = 0
    return level * audio


KINDS = st.sampled_from(["noise", "silence", "constant", "click", "square", "half"])
LEVELS = st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 20.0])
SHAPES = st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2, 33, 1440, 2049, 12_000, 21_001]))


@st.composite
def pairs(draw: Any) -> tuple[torch.Tensor, torch.Tensor]:
    shape = draw(SHAPES)
    estimate, target = (sound(draw(KINDS), draw(LEVELS), *shape, seed) for seed in (1, 2))
    return estimate, target


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_any_audio_gives_numbers_within_their_limits_or_nan(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    for name, value in measure(*pair, NAMES).items():
        assert isinstance(value, float) and not math.isinf(value), name
        low, high = LIMITS.get(name, (-math.inf, math.inf))
        assert math.isnan(value) or low <= value <= high, (name, value)
        if METRICS[name].better == "lower" and not math.isnan(value):
            assert value >= 0, name


@settings(max_examples=25, deadline=None)
@given(pairs())
def test_a_copy_is_perfect_or_not_judged(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    best = {"si_sdr": 100.0, "si_sdr_aligned": 100.0, "pesq_wb": 4.644, "pesq_nb": 4.549}
    names = [name for name in NAMES if not name.endswith("_deshimmered")]
    for name, value in measure(pair[1].clone(), pair[1], names).items():
        assert math.isnan(float(value)) or value == pytest.approx(best.get(name, 0), abs=1e-3), name


@settings(max_examples=25, deadline=None)
@given(pairs())
def test_distances_are_symmetric_and_differences_change_sign(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    there = measure(pair[0], pair[1], [*SYMMETRIC, *SIGNED])
    back = measure(pair[1], pair[0], [*SYMMETRIC, *SIGNED])
    for name, value in there.items():
        other = float(back[name])
        if not math.isnan(float(value)) and not math.isnan(other):
            assert value == pytest.approx(-other if name in SIGNED else other, rel=1e-4, abs=1e-5), name


@settings(max_examples=25, deadline=None)
@given(pairs(), st.sampled_from([1e-3, 0.5, 7.0]))
def test_si_sdr_does_not_know_the_level(pair: tuple[torch.Tensor, torch.Tensor], gain: float) -> None:
    names = ["si_sdr", "si_sdr_aligned"]
    plain, scaled = (measure(x, pair[1], names) for x in (pair[0].double(), gain * pair[0].double()))
    for name in names:
        assert scaled[name] == pytest.approx(plain[name], abs=1e-3), name
