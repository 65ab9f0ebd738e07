"""Losses against the stored figures of the report's script and against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import auraloss
import numpy as np
import pytest
import torch
from torch import Tensor

from heartopt.errors import AudioError
from heartopt.losses import (
    LOSSES,
    mel_distance,
    mel_log1p,
    shimmer_db,
    stft_hf,
    stft_log1p,
    stft_loss,
    stft_phase,
)

DATA = Path(__file__).parent / "data" / "projection_and_loss_io.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(DATA) as stored:
        return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}


@pytest.fixture
def music() -> Tensor:
    """Half a second of stereo chords over a noise floor: every cell is above the losses' floors."""
    generator = torch.Generator().manual_seed(5)
    time = torch.arange(24_000) / 48_000
    hertz = torch.tensor([220.0, 440.0, 1320.0, 5200.0])[:, None]
    tones = (torch.sin(2 * math.pi * hertz * time) / torch.arange(1, 5)[:, None]).sum(dim=0)
    return 0.1 * tones + 0.02 * torch.randn(2, 24_000, generator=generator)


def test_matches_the_training_reports_figures(golden: dict[str, Tensor]) -> None:
    pair = golden["loss_pred"], golden["loss_target"]
    stft = stft_log1p(*pair)
    tight = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(stft, golden["report_stft"], **tight)
    torch.testing.assert_close(stft + 0.1 * stft_phase(*pair), golden["report_stft_phase"], **tight)
    torch.testing.assert_close(stft + 0.5 * stft_hf(*pair), golden["report_stft_hf"], **tight)
    torch.testing.assert_close(mel_log1p(*pair), golden["report_mel"], **tight)


def test_tier_metric_is_auraloss_with_channels_as_items(golden: dict[str, Tensor]) -> None:
    pair = golden["loss_pred"], golden["loss_target"]
    reference = auraloss.freq.MultiResolutionSTFTLoss([512, 1024, 2048], [128, 256, 512], [512, 1024, 2048])
    expected = reference(pair[0][:, None], pair[1][:, None])
    torch.testing.assert_close(stft_loss(*pair), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", list(LOSSES))
def test_identity_is_zero_and_difference_is_not(name: str, music: Tensor) -> None:
    assert LOSSES[name](music, music).item() == pytest.approx(0.0, abs=1e-6)
    assert LOSSES[name](music.flip(-1), music).item() > 1e-3


def test_gain_has_closed_forms(music: Tensor) -> None:
    halved = 0.5 * music
    # spectral convergence of a gain g is |1 - g|, the log magnitudes differ by |ln g| in each cell
    assert stft_loss(halved, music).item() == pytest.approx(0.5 + math.log(2), rel=2e-3)
    assert mel_distance(halved, music).item() == pytest.approx(math.log10(2), rel=1e-4)
    assert shimmer_db(halved, music).item() == pytest.approx(20 * math.log10(0.5), abs=1e-3)
    assert stft_phase(halved, music).item() == pytest.approx(0.0, abs=1e-4)
    assert stft_phase(-music, music).item() == pytest.approx(math.pi, rel=1e-5)


@pytest.mark.parametrize("silent", [False, True])
def test_phases_are_the_same_with_and_without_gradient(silent: bool, music: Tensor) -> None:
    estimate = torch.zeros_like(music) if silent else music.flip(-1)
    plain = stft_phase(estimate, music)
    assert not plain.requires_grad
    torch.testing.assert_close(plain, stft_phase(estimate.requires_grad_(), music).detach(), rtol=1e-6, atol=0)


def test_silence_has_no_phase_and_is_as_far_as_noise(music: Tensor) -> None:
    silence = torch.zeros_like(music)
    assert stft_phase(silence, music).item() == pytest.approx(math.pi / 2, rel=1e-4)
    assert stft_phase(-silence, silence).item() == 0.0


def test_shimmer_counts_its_band_only(music: Tensor) -> None:
    time = torch.arange(music.shape[-1]) / 48_000
    inside, outside = (0.1 * torch.sin(2 * math.pi * hertz * time) for hertz in (6_000, 12_000))
    loud = torch.stack([inside, inside])
    assert shimmer_db(2 * loud, loud).item() == pytest.approx(6.0206, abs=1e-3)
    assert shimmer_db(loud + outside, loud).item() == pytest.approx(0.0, abs=0.01)
    assert shimmer_db(loud, 10 * loud).item() == pytest.approx(-20.0, abs=1e-3)


def test_silence_is_finite_both_ways(music: Tensor) -> None:
    silence = torch.zeros_like(music)
    for loss in LOSSES.values():
        assert loss(silence, silence).item() == pytest.approx(0.0, abs=1e-6)
        assert math.isfinite(loss(silence, music).item())
        assert math.isfinite(loss(music, silence).item())
    assert shimmer_db(silence, silence).item() == 0.0
    assert -160 < shimmer_db(silence, music).item() < -60
    # convergence 1 + the distance of all magnitudes from the floor of 1e-4: poor; the report's own says good
    assert stft_loss(silence, music).item() > 4
    assert stft_log1p(silence, music).item() < 2


@pytest.mark.parametrize("samples", [1, 480, 1024, 2047])
def test_short_signals_are_padded(samples: int, music: Tensor) -> None:
    short = music[:, :samples]
    for name, loss in LOSSES.items():
        assert loss(short, short).item() == pytest.approx(0.0, abs=1e-6), name
        assert math.isfinite(loss(0.5 * short, short).item()), name


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_reach_the_estimate_and_are_finite(name: str, music: Tensor) -> None:
    estimate = torch.cat([torch.zeros(2, 4096), 0.7 * music[:, 4096:]], dim=-1).requires_grad_()
    LOSSES[name](estimate, music).backward()
    assert estimate.grad is not None and torch.isfinite(estimate.grad).all() and estimate.grad.abs().sum() > 0


def test_caches_filled_in_inference_mode_still_train(music: Tensor) -> None:
    music = music.double()  # a dtype that no other test has cached
    with torch.inference_mode():
        for loss in LOSSES.values():
            loss(music, music)
    estimate = (0.5 * music).requires_grad_()
    torch.stack([loss(estimate, music) for loss in LOSSES.values()]).sum().backward()
    assert estimate.grad is not None


def test_half_precision_is_raised(music: Tensor) -> None:
    half = music.to(torch.bfloat16)
    for loss in LOSSES.values():
        assert loss(half, half.float()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 23_999), (1, 24_000), (24_000,), (2, 0)])
def test_refuses_pairs_of_other_shapes(shape: tuple[int, ...], music: Tensor) -> None:
    with pytest.raises(AudioError, match=r"one shape"):
        stft_loss(torch.zeros(shape), torch.zeros(shape) if len(shape) == 1 or shape[-1] == 0 else music)
