"""What holds for every objective and quantizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws
from heartopt.training.model import Trained
from heartopt.training.objectives import Terms, objective_terms, term_weights, weighted
from heartopt.training.settings import OBJECTIVES, Quantize, TrainSettings

GUMBEL = Quantize(kind="gumbel", top_k=8, dither=0.1, revival=0.5)
RECIPES: list[dict[str, Any]] = [
    {"objective": {"flow": 1.0}},
    {"objective": {"flow": 1.0}, "quantize": Quantize(dither=0.3)},
    {"objective": {"flow": 1.0}, "quantize": GUMBEL},
    {"objective": {"bypass": 1.0}, "include_phase": True, "highfreq_weight": 0.5},
    {"objective": {"ode": 1.0}},
    {"objective": {"distill": 1.0}},
    {"objective": {"flow": 1.0, "bypass": 0.5, "ode": 0.5, "distill": 2.0}, "quantize": GUMBEL},
]
Make = Callable[..., TrainSettings]
TermsOf = Callable[..., Terms]


def own(settings: TrainSettings, terms: Terms) -> torch.Tensor:
    """The loss of the objectives' own terms, so that what they share cannot hide a missing gradient."""
    shared = ("commitment", "l2", "entropy")
    weights = {name: weight for name, weight in term_weights(settings).items() if name not in shared}
    return weighted({name: terms.terms[name] for name in weights}, weights)


@pytest.mark.parametrize("recipe", RECIPES)
def test_gradients_reach_what_is_trained_and_never_the_codec(
    recipe: dict[str, Any], settings: Make, terms_of: TermsOf, batch: Batch, codec: HeartCodec, model: Trained
) -> None:
    chosen = settings(**recipe)
    own(chosen, terms_of(chosen, batch)).backward()
    trained = model if "bypass" in chosen.objective else model.projection
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert torch.isfinite(parameter.grad).all(), name
    assert all(p.grad is None for p in codec.parameters())
    assert all(not p.requires_grad for p in codec.parameters())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_terms_of_a_batch_are_the_means_of_its_halves(
    recipe: dict[str, Any], settings: Make, terms_of: TermsOf, batch: Batch, codec: HeartCodec
) -> None:
    chosen = settings(**recipe)
    usage = torch.zeros(codec.config.num_quantizers, codec.config.codebook_size)
    usage[:, ::2] = 10
    with torch.no_grad():
        whole, *halves = (
            terms_of(chosen, batch, items, progress=0.3, usage=usage) for items in (None, range(2), range(2, 4))
        )
    assert set(whole.terms) == set(term_weights(chosen))
    assert torch.equal(torch.cat([half.codes for half in halves]), whole.codes)
    for name, term in whole.terms.items():
        mean = (halves[0].terms[name] + halves[1].terms[name]) / 2
        torch.testing.assert_close(mean, term, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("recipe", RECIPES)
def test_frames_that_only_fill_a_crop_count_nowhere(
    recipe: dict[str, Any], settings: Make, terms_of: TermsOf, batch: Batch, codec: HeartCodec
) -> None:
    changed = replace(batch, targets=batch.targets.clone(), audio=batch.audio.clone(), tokens=batch.tokens.clone())  # type: ignore[union-attr]
    changed.targets[2, 4:] = 0
    changed.audio[2, :, 4 * codec.hop :] = 0  # type: ignore[index]
    changed.tokens[2, :, 2:] = 0  # type: ignore[index]
    chosen = settings(**recipe)
    with torch.no_grad():
        before, after = (terms_of(chosen, given).terms for given in (batch, changed))
    for name in before:
        # The estimator attends to the filling's noisy targets, as in use; all else never sees it.
        if name != "flow":
            assert torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_bfloat16_gives_nearly_the_same_finite_float32_terms(
    recipe: dict[str, Any], settings: Make, terms_of: TermsOf, batch: Batch
) -> None:
    # The projection computes in half precision, so a few codes are others: hence the wide tolerance.
    chosen = settings(**recipe)
    full = terms_of(chosen, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = terms_of(chosen, batch)
        loss = weighted(half.terms, term_weights(chosen))
    loss.backward()
    for name, term in half.terms.items():
        assert term.dtype == torch.float32, name
        assert torch.isfinite(term), name
        torch.testing.assert_close(term, full.terms[name], rtol=0.1, atol=0.02)


def test_a_mixture_adds_up_and_shares_one_choice(settings: Make, terms_of: TermsOf, batch: Batch) -> None:
    mixed = settings(objective={"flow": 2.0, "distill": 0.5})
    with torch.no_grad():
        both = terms_of(mixed, batch)
        alone = {name: terms_of(settings(objective={name: 1.0}), batch).terms for name in mixed.objective}
    expected = 2 * alone["flow"]["flow"] + 0.5 * alone["distill"]["distill"]
    expected = expected + 0.25 * alone["flow"]["commitment"] + 0.001 * alone["flow"]["l2"]
    torch.testing.assert_close(weighted(both.terms, term_weights(mixed)), expected)


def test_the_weights_are_the_training_reports(settings: Make) -> None:
    full = settings(objective={"bypass": 1.0}, include_phase=True, highfreq_weight=0.5)
    assert term_weights(full) == {
        "bypass_stft": 1.0,
        "bypass_mel": 0.5,
        "bypass_phase": 0.1,
        "bypass_hf": 0.5,
        "commitment": 0.25,
        "l2": 0.001,
    }
    plain = settings(objective={"ode": 0.5}, quantize=GUMBEL)
    assert term_weights(plain) == {"ode_stft": 0.5, "ode_mel": 0.25, "commitment": 0.25, "l2": 0.001, "entropy": 0.1}
    assert term_weights(settings(objective={"flow": 1.0, "distill": 0.3})) == {
        "flow": 1.0,
        "distill": 0.3,
        "commitment": 0.25,
        "l2": 0.001,
    }


def test_commitment_and_l2_are_means_over_items_of_means_over_their_own_frames(
    settings: Make, terms_of: TermsOf, batch: Batch, codec: HeartCodec, model: Trained
) -> None:
    terms = terms_of(settings(), batch)
    features = model.projection.project(batch.inputs)
    e = codec.flow_matching.project_in(features)
    level = torch.arange(codec.config.num_quantizers)[None, :, None]
    left = e[:, None] - codec.flow_matching.codebooks[level, terms.codes].cumsum(1)
    items = range(len(batch.real))
    own_frames = [int(batch.real[item].sum()) // 2 for item in items]
    commitment = torch.stack([left[item, :, : own_frames[item]].square().mean() for item in items]).mean()
    l2 = torch.stack([features[item, : own_frames[item]].square().mean() for item in items]).mean()
    torch.testing.assert_close(terms.terms["commitment"], commitment)
    torch.testing.assert_close(terms.terms["l2"], l2)


@pytest.mark.parametrize(("name", "field"), [("bypass", "audio"), ("ode", "audio"), ("distill", "tokens")])
def test_what_is_missing_is_named(name: str, field: str, settings: Make, terms_of: TermsOf, batch: Batch) -> None:
    with pytest.raises(ConfigError, match=field):
        terms_of(settings(objective={name: 1.0}), replace(batch, **{field: None}))


def test_every_objective_is_covered() -> None:
    assert {name for recipe in RECIPES for name in recipe["objective"]} == set(OBJECTIVES)


def test_the_quantizer_follows_the_run(
    settings: Make, terms_of: TermsOf, batch: Batch, codec: HeartCodec, model: Trained
) -> None:
    # Cold at the end: nearly the nearest codes, whatever the noise.
    cold = settings(objective={"distill": 1.0}, quantize=Quantize(kind="gumbel", top_k=8, temperature=(3.0, 0.001)))
    with torch.no_grad():
        greedy = terms_of(settings(objective={"distill": 1.0}), batch).codes
        start, end = (terms_of(cold, batch, progress=progress).codes for progress in (0.0, 1.0))
        silent = objective_terms(model, codec, batch, Draws(), settings=cold, progress=0.0).codes
    assert (start != greedy).float().mean() > 0.3
    assert (end != greedy).float().mean() < 0.05
    assert torch.equal(silent, greedy)
