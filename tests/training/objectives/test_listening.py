from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from heartopt.losses import mel_log1p, stft_log1p
from heartopt.training.crops import Batch
from heartopt.training.objectives import term_weights, weighted
from heartopt.training.objectives.listening import listening_terms, listening_weights
from heartopt.training.settings import TrainSettings

DATA = Path(__file__).parents[2] / "data" / "projection_and_loss_io.npz"
Make = Callable[..., TrainSettings]


def heard(estimates: Tensor, batch: Batch, weights: dict[str, float], *, hop: int, recompute: bool = False) -> Tensor:
    """The loss of `estimates` `[B, c, N]`, which a decoder of the identity gives."""
    flat = estimates.flatten(1)[..., None]
    channels = estimates.shape[1]
    terms = listening_terms(lambda own: own.view(channels, -1), flat, batch, weights, hop=hop, recompute=recompute)
    return weighted(terms, weights)


@pytest.fixture
def pair() -> tuple[Tensor, Batch, dict[str, Tensor]]:
    """The stored estimate, and its target in a batch of one; frames of 480 samples."""
    with np.load(DATA) as stored:
        golden = {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}
    target = golden["loss_target"][None]
    real = torch.ones(1, target.shape[-1] // 480, dtype=torch.bool)
    latents = torch.zeros(1, real.shape[1], 1)
    return golden["loss_pred"][None], Batch(latents, latents, real, audio=target), golden


def test_the_weighted_terms_are_the_training_reports_losses(
    pair: tuple[Tensor, Batch, dict[str, Tensor]], settings: Make
) -> None:
    estimate, batch, golden = pair
    tight = {"rtol": 1e-4, "atol": 1e-6}
    for changed, expected in (
        ({}, golden["report_stft"]),
        ({"include_phase": True}, golden["report_stft_phase"]),
        ({"highfreq_weight": 0.5}, golden["report_stft_hf"]),
    ):
        without_mel = listening_weights(settings(objective={"bypass": 1.0}, mel_weight=0.0, **changed))
        torch.testing.assert_close(heard(estimate, batch, without_mel, hop=480), expected, **tight)
        with_mel = listening_weights(settings(objective={"bypass": 1.0}, **changed))
        whole = expected + 0.5 * golden["report_mel"]
        torch.testing.assert_close(heard(estimate, batch, with_mel, hop=480), whole, **tight)
        # The loss of a run weighs them alike.
        own = {
            name: w for name, w in term_weights(settings(objective={"bypass": 1.0}, **changed)).items() if "_" in name
        }
        assert {name.removeprefix("bypass_"): weight for name, weight in own.items()} == with_mel


def test_files_are_never_batched_and_filling_is_cut_off(batch: Batch) -> None:
    assert batch.audio is not None
    hop = batch.audio.shape[-1] // batch.real.shape[1]
    loudness = torch.tensor([1.0, 0.1, 0.01, 2.0])[:, None, None]
    loud = replace(batch, audio=batch.audio * loudness)
    assert loud.audio is not None
    estimate = loud.audio.roll(100, -1)
    samples = [int(own) * hop for own in batch.real.sum(1)]
    expected = [
        stft_log1p(e[:, :n], t[:, :n]) + 0.5 * mel_log1p(e[:, :n], t[:, :n])
        for e, t, n in zip(estimate, loud.audio, samples, strict=True)
    ]
    loss = heard(estimate, loud, {"stft": 1.0, "mel": 0.5}, hop=hop)
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_a_mono_estimate_is_compared_with_the_mean_of_the_channels(batch: Batch) -> None:
    assert batch.audio is not None
    hop = batch.audio.shape[-1] // batch.real.shape[1]
    mono = batch.audio.mean(1, keepdim=True)
    assert heard(mono, batch, {"stft": 1.0, "mel": 0.5}, hop=hop).item() == pytest.approx(0.0, abs=1e-6)


def test_recomputing_changes_neither_value_nor_gradient(batch: Batch) -> None:
    assert batch.audio is not None
    hop = batch.audio.shape[-1] // batch.real.shape[1]
    results = []
    for recompute in (False, True):
        estimate = (0.5 * batch.audio).requires_grad_()
        loss = heard(estimate, batch, {"stft": 1.0}, hop=hop, recompute=recompute)
        loss.backward()
        assert estimate.grad is not None
        results.append((loss.detach(), estimate.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_silence_counts_as_nothing_and_draws_nothing(batch: Batch) -> None:
    assert batch.audio is not None
    hop = batch.audio.shape[-1] // batch.real.shape[1]
    audio = batch.audio.clone()
    audio[1] = 1e-6  # fades in: not a zero, and no ratio to it means anything
    estimate = (0.5 * batch.audio).requires_grad_()
    weights = {"stft": 1.0, "mel": 0.5}
    loss = heard(estimate, replace(batch, audio=audio), weights, hop=hop)
    loss.backward()
    assert estimate.grad is not None
    assert not estimate.grad[1].any()
    assert estimate.grad[0].any()
    others = [0, *range(2, len(audio))]
    alone = heard(
        estimate[others],
        Batch(*(x[others] for x in (batch.inputs, batch.targets, batch.real, audio))),
        weights,
        hop=hop,
    )
    assert loss.item() == pytest.approx(alone.item() * len(others) / len(audio), rel=1e-5)
