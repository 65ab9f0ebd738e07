"""The shimmer remover against the reference's stored outputs, planted birdies, and what must not change."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.deshimmer import DeshimmerParams, deshimmer, deshimmer_blocks, find_shimmer
from heartopt.errors import AudioError, ConfigError

RATE = 48_000
DATA = Path(__file__).parent / "data" / "deshimmer_io.npz"
FADE = 240  # samples: 5 ms
#: Settings that act on all that is not clearly music, for tests that need something to be removed.
EAGER = DeshimmerParams(slope=1.0, density=(0.05, 0.5), flatness=(0.0, 0.2))
BIRDIES = (235, 261, 290)  # bins, all inside 5.1-7.2 kHz and its edges


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(DATA) as stored:
        return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}


def _noise(samples: int, channels: int = 2, seed: int = 1) -> Tensor:
    return 0.02 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


def _tone(hertz: float, samples: int, rate: int = RATE) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(samples, dtype=torch.float64) / rate).float()


def _birdies(samples: int) -> Tensor:
    return torch.stack([_tone(bin_ * RATE / 2_048, samples) for bin_ in BIRDIES]).sum(dim=0)


def _power(audio: Tensor) -> Tensor:
    """Mean squared magnitude of each of 1025 bins, fades excluded."""
    window = torch.hann_window(2_048)
    return torch.stft(audio, 2_048, 512, window=window, return_complex=True)[..., 4:-4].abs().square().mean((0, 2))


def _change_db(before: Tensor, after: Tensor) -> Tensor:
    return 10 * torch.log10(_power(after) / _power(before))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("default", DeshimmerParams()),
        # NumPy draws the phases here and there, so that not only the magnitudes can be held against each other.
        ("noise_resynth", DeshimmerParams(resynthesis=0.3, seed=3)),
        ("aggressive", DeshimmerParams(threshold=4, slope=1, density=(0.02, 0.5), flatness=(0, 0.2), mix=0.9)),
        ("mono", DeshimmerParams(threshold=5)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_the_reference(
    golden: dict[str, Tensor], name: str, params: DeshimmerParams, dtype: torch.dtype
) -> None:
    expected = torch.atleast_2d(golden[name])
    audio = golden["input"][: len(expected)].to(dtype)
    result = deshimmer(audio, RATE, params)
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected.to(dtype), rtol=0, atol=2e-5)
    assert (audio - result)[:, FADE:-FADE].abs().max() > 1e-3  # the comparison saw something removed


@pytest.mark.parametrize("seed", [0, 7])
def test_another_seed_changes_phases_but_not_magnitudes(golden: dict[str, Tensor], seed: int) -> None:
    result = deshimmer(golden["input"], RATE, DeshimmerParams(resynthesis=0.3, seed=seed))
    assert (result - golden["noise_resynth"]).abs().max() > 1e-3
    change = 10 * torch.log10(_power(result)[218:308].mean() / _power(golden["noise_resynth"])[218:308].mean())
    assert abs(float(change)) < 0.5


@pytest.mark.parametrize("params", [DeshimmerParams(), EAGER, DeshimmerParams(resynthesis=0.5)])
def test_silence_stays_silent(params: DeshimmerParams) -> None:
    assert torch.equal(deshimmer(torch.zeros(2, 20_000), RATE, params), torch.zeros(2, 20_000))


@pytest.mark.parametrize("hertz", [60, 440, 3_000, 4_900, 7_500, 15_000])
def test_clean_tones_outside_the_band_are_untouched(hertz: float) -> None:
    audio = 0.5 * torch.stack([_tone(hertz, 30_000), _tone(1.01 * hertz, 30_000)])
    result = deshimmer(audio, RATE)
    torch.testing.assert_close(result[:, FADE:-FADE], audio[:, FADE:-FADE], rtol=0, atol=1e-6)


def test_a_clean_tone_inside_the_band_is_untouched() -> None:
    audio = 0.5 * _tone(6_000, 30_000)[None]
    change = (deshimmer(audio, RATE) - audio)[:, 2_048:-2_048]  # it begins and ends as a click, which is noise
    assert change.abs().max() < 1e-6


def test_weak_birdies_sink_by_half_a_decibel_with_the_defaults() -> None:
    audio = _noise(96_000) + 0.004 * _birdies(96_000)
    change = _change_db(audio, deshimmer(audio, RATE))
    assert change[list(BIRDIES)].max() < -0.5
    _assert_the_rest_stays(change)


def test_birdies_sink_by_five_decibels_with_eager_settings() -> None:
    audio = _noise(96_000) + 0.008 * _birdies(96_000)
    change = _change_db(audio, deshimmer(audio, RATE, EAGER))
    assert change[list(BIRDIES)].max() < -5
    _assert_the_rest_stays(change)


def _assert_the_rest_stays(change: Tensor) -> None:
    rest = torch.ones(len(change), dtype=torch.bool)
    for bin_ in BIRDIES:  # a Hann-windowed tone reaches over two bins on either side
        rest[bin_ - 2 : bin_ + 3] = False
    assert change[rest].abs().max() < 0.1
    outside = torch.cat([change[:214], change[312:]])
    assert outside.abs().max() < 1e-3


def test_what_was_removed_is_the_difference() -> None:
    birdies = 0.008 * _birdies(96_000)
    audio = _noise(96_000) + birdies
    removed = (audio - deshimmer(audio, RATE, EAGER))[:, 2_048:-2_048]
    likeness = torch.cosine_similarity(removed.mean(dim=0), birdies[2_048:-2_048], dim=0)
    assert likeness > 0.95


def test_transients_are_kept() -> None:
    at, length = 40_000, 480  # a burst of 10 ms, 34 dB above the noise that rings
    bed = _noise(96_000) + 0.008 * _birdies(96_000)
    burst = torch.zeros_like(bed)
    burst[:, at : at + length] = 50 * _noise(length, seed=2)
    change = deshimmer(bed + burst, RATE, EAGER) - (bed + burst)
    usual = deshimmer(bed, RATE, EAGER) - bed
    here = slice(at, at + length)
    error_db = 10 * torch.log10(change[:, here].square().mean() / burst[:, here].square().mean())
    assert error_db < -35
    assert usual[:, here].square().mean() > 2 * change[:, here].square().mean()  # less is removed there than without it


@pytest.mark.parametrize(("resynthesis", "pan"), [(0.0, 0.25), (0.0, -0.25), (0.4, 0.25)])
def test_the_stereo_image_is_kept(resynthesis: float, pan: float) -> None:
    mono = _noise(48_000, channels=1) + 0.008 * _birdies(48_000)
    params = DeshimmerParams(slope=1.0, density=(0.05, 0.5), flatness=(0.0, 0.2), resynthesis=resynthesis)
    panned = deshimmer(torch.cat([mono, pan * mono, 0 * mono]), RATE, params)
    torch.testing.assert_close(panned[1], pan * panned[0], rtol=0, atol=1e-6)
    assert not panned[2].any()

    sides = _noise(48_000) + 0.008 * _birdies(48_000)
    swapped = deshimmer(sides.flip(0), RATE, params).flip(0)
    torch.testing.assert_close(swapped, deshimmer(sides, RATE, params), rtol=0, atol=1e-6)


_LONGEST = 24_000
_SOURCE = _noise(_LONGEST, seed=5) + 0.008 * _birdies(_LONGEST)


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(1, _LONGEST),
    block_frames=st.integers(1, 60),
    resynthesis=st.sampled_from([0.0, 0.5]),
)
def test_chunks_do_not_change_the_result(samples: int, block_frames: int, resynthesis: float) -> None:
    params = DeshimmerParams(slope=1.0, density=(0.05, 0.5), flatness=(0.0, 0.2), resynthesis=resynthesis)
    audio = _SOURCE[:, :samples]
    whole = deshimmer(audio, RATE, params, block_frames=100)
    assert whole.shape == audio.shape
    assert bool(whole.isfinite().all())
    parts = list(deshimmer_blocks(lambda a, b: audio[:, a:b], samples, RATE, params, block_frames=block_frames))
    assert all(part.shape[1] <= block_frames * 512 for part in parts)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-6)


def test_reading_goes_forward_in_pieces_of_bounded_size() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return torch.zeros(1, stop - start)

    total = sum(part.shape[1] for part in deshimmer_blocks(read, 100_001, RATE, block_frames=8))
    assert total == 100_001
    assert asked[0][0] == 0
    assert asked[-1][1] == 100_001
    assert max(stop - start for start, stop in asked) <= 8 * 512 + 2_048
    assert all(0 <= before[1] - after[0] < 2_048 for before, after in pairwise(asked))


def test_fades_and_mix() -> None:
    audio = _noise(24_000) + 0.008 * _birdies(24_000)
    wet = deshimmer(audio, RATE, DeshimmerParams(threshold=4, fade=0))
    half = deshimmer(audio, RATE, DeshimmerParams(threshold=4, fade=0, mix=0.5))
    torch.testing.assert_close(half, (audio + wet) / 2, rtol=0, atol=1e-7)
    assert torch.equal(deshimmer(audio, RATE, DeshimmerParams(fade=0, mix=0)), audio)

    faded = deshimmer(torch.full((1, 5_000), 0.5), RATE)[0]
    ramp = 0.5 * torch.linspace(0, 1, FADE)
    torch.testing.assert_close(faded[:FADE], ramp)
    torch.testing.assert_close(faded[-FADE:], ramp.flip(0))
    assert bool((faded[FADE:-FADE] == 0.5).all())


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 479])
def test_fades_of_audio_shorter_than_both(samples: int) -> None:
    faded = deshimmer(torch.full((1, samples), 0.5), RATE, DeshimmerParams(mix=0))[0]
    assert faded.shape == (samples,)
    torch.testing.assert_close(faded, faded.flip(0))
    assert faded[0] == (0 if samples > 1 else 0.5)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 96_000])
def test_the_band_is_in_hertz_at_any_rate(rate: int) -> None:
    audio = _noise(2 * rate) + 0.01 * _tone(6_000, 2 * rate, rate)
    found = find_shimmer(audio, rate)
    loudest = found.hertz[found.residual_db.mean(dim=0).argmax()]
    assert abs(float(loudest) - 6_000) <= rate / 2_048
    result = deshimmer(audio, rate, EAGER)
    assert result.shape == audio.shape
    removed = (audio - result)[0, 2_048:-2_048]
    peak = torch.fft.rfft(removed * torch.hann_window(len(removed))).abs().argmax() * rate / len(removed)
    assert abs(float(peak) - 6_000) < 2


def test_finds_birdies_where_and_when_they_ring() -> None:
    audio = _noise(96_000)
    audio[:, 48_000:] += 0.01 * _birdies(48_000)
    found = find_shimmer(audio, RATE, block_frames=7)
    frames = (2_048 + 96_000) // 512
    assert found.level_db.shape == found.gain.shape == (frames, len(found.hertz))
    torch.testing.assert_close(found.hertz[[bin_ - 218 for bin_ in BIRDIES]], torch.tensor(BIRDIES) * RATE / 2_048)
    late = (found.seconds > 1.03) & (found.seconds < 1.97)
    early = (found.seconds > 0.02) & (found.seconds < 0.97)
    ringing = found.stands_out[:, [bin_ - 218 for bin_ in BIRDIES]].double()
    assert ringing[late].mean() > 0.95
    assert ringing[early].mean() < 0.05
    assert 0 < found.share < 0.1


def test_gradients_are_those_of_a_filter_with_fixed_gains() -> None:
    audio = (_noise(12_000) + 0.008 * _birdies(12_000)).double().requires_grad_()
    weights = torch.randn(2, 12_000, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    score = (deshimmer(audio, RATE, EAGER, block_frames=5) * weights).sum()
    (gradient,) = torch.autograd.grad(score, audio)
    # Linear in the audio while the gains stay: by Euler's theorem, gradient times audio is the score itself.
    torch.testing.assert_close((gradient * audio).sum(), score, rtol=1e-9, atol=1e-12)
    assert (gradient - weights)[:, FADE:-FADE].abs().max() > 1e-3


def test_gradients_at_silence_are_finite() -> None:
    audio = torch.zeros(1, 5_000, requires_grad=True)
    deshimmer(audio, RATE, DeshimmerParams(resynthesis=0.5)).square().sum().backward()
    assert audio.grad is not None
    assert bool(audio.grad.isfinite().all())


def test_input_is_not_changed_and_half_precision_is_raised() -> None:
    audio = _noise(12_000) + 0.008 * _birdies(12_000)
    kept = audio.clone()
    result = deshimmer(audio, RATE, EAGER)
    assert torch.equal(audio, kept)
    assert deshimmer(audio.half(), RATE, EAGER).dtype == torch.float32
    torch.testing.assert_close(deshimmer(audio.half(), RATE, EAGER), result, rtol=0, atol=2e-3)


def _spoiled(value: float) -> Tensor:
    audio = torch.zeros(2, 96_000)
    audio[1, 72_000] = value
    return audio


@pytest.mark.parametrize(
    ("audio", "rate", "word"),
    [
        (_spoiled(math.nan), RATE, r"1\.500 s"),
        (_spoiled(-math.inf), RATE, r"1\.500 s"),
        (_spoiled(1e30), RATE, r"1\.500 s"),
        (torch.zeros(2, 0), RATE, "no samples"),
        (torch.zeros(0, 100), RATE, "channels, samples"),
        (torch.zeros(100), RATE, "channels, samples"),
        (torch.zeros(1, 2, 100), RATE, "channels, samples"),
        (torch.tensor(0.5), RATE, "channels, samples"),
        (torch.zeros(1, 100, dtype=torch.int16), RATE, "floating point"),
        (torch.zeros(1, 100, dtype=torch.complex64), RATE, "floating point"),
        (torch.zeros(1, 100), 15_999, "16000 Hz"),
        (torch.zeros(1, 100), 0, "16000 Hz"),
    ],
)
def test_bad_audio_is_one_clear_line(audio: Tensor, rate: int, word: str) -> None:
    for function in (deshimmer, find_shimmer):
        with pytest.raises(AudioError, match=word) as caught:
            function(audio, rate)
        assert "\n" not in str(caught.value)


def test_bad_settings_are_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="8000 Hz"):
        deshimmer(torch.zeros(1, 100), 16_000, DeshimmerParams(high=9_000))
    with pytest.raises(ConfigError, match="block_frames"):
        deshimmer(torch.zeros(1, 100), RATE, block_frames=0)
