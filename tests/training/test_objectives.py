from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws, step_draws
from heartopt.training.objectives import code_counts, flow_terms, weighted

FRAMES = 12


@pytest.fixture
def projection(codec: HeartCodec) -> EncoderProjection:
    torch.manual_seed(0)
    return EncoderProjection(256, codec.config.dim, 16)


@pytest.fixture
def batch() -> Batch:
    latents = torch.tanh(torch.randn(3, FRAMES, 256, generator=torch.Generator().manual_seed(1)))
    real = torch.arange(FRAMES) < torch.tensor([[12], [12], [8]])
    return Batch(latents, latents, real)


@pytest.fixture
def draws(batch: Batch) -> Draws:
    return step_draws(seed=0, step=0, real=batch.real, channels=256)


def test_flow_is_the_decoders_loss_of_the_codes_it_would_be_given(
    codec: HeartCodec, projection: EncoderProjection, batch: Batch, draws: Draws
) -> None:
    result = flow_terms(projection, codec, batch, draws)
    flow = codec.flow_matching
    # Straight through: the value is that of the codes alone, without any e.
    losses = flow.flow_loss(
        batch.targets,
        flow.condition(result.codes),
        times=draws.times,
        noise=draws.noise,
        context=draws.context,
        frames=batch.real,
    )
    torch.testing.assert_close(result.terms["flow"], losses.mean(), rtol=1e-5, atol=1e-6)


def test_commitment_is_the_distance_to_the_code_vectors_over_real_frames(
    codec: HeartCodec, projection: EncoderProjection, batch: Batch, draws: Draws
) -> None:
    result = flow_terms(projection, codec, batch, draws)
    e = codec.flow_matching.project_in(projection.project(batch.inputs))
    vectors = codec.flow_matching.code_sum(result.codes)
    squares = [(e[0] - vectors[0]), (e[1] - vectors[1]), (e[2, :4] - vectors[2, :4])]
    expected = torch.cat(squares).square().mean()
    torch.testing.assert_close(result.terms["commitment"], expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_passes_the_quantizer_and_stops_at_the_codec(
    codec: HeartCodec, projection: EncoderProjection, batch: Batch, draws: Draws
) -> None:
    flow_terms(projection, codec, batch, draws).terms["flow"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in projection.parameters())
    assert all(p.grad is None for p in codec.parameters())


def test_frames_that_only_fill_a_crop_count_for_nothing_but_the_attention(
    codec: HeartCodec, projection: EncoderProjection, batch: Batch, draws: Draws
) -> None:
    # At time 0 the estimator sees the noise alone, so that the targets reach the loss only where they are counted.
    at_noise = replace(draws, times=torch.zeros(3), context=torch.zeros(3, FRAMES, dtype=torch.bool))

    def flow(frames: slice) -> torch.Tensor:
        changed = replace(batch, targets=batch.targets.clone())
        changed.targets[2, frames] += 1
        with torch.no_grad():
            return flow_terms(projection, codec, changed, at_noise).terms["flow"]

    assert torch.equal(flow(slice(8, FRAMES)), flow(slice(0)))
    assert not torch.equal(flow(slice(7, 8)), flow(slice(0)))


def test_terms_and_weights_must_match_by_name() -> None:
    terms = {"flow": torch.tensor(2.0), "commitment": torch.tensor(4.0)}
    assert weighted(terms, {"commitment": 0.25, "flow": 1.0}).item() == 3.0
    with pytest.raises(ConfigError, match="comitment"):
        weighted(terms, {"flow": 1.0, "comitment": 0.25})


def test_code_counts_pass_over_filling() -> None:
    codes = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    counts = code_counts(codes, torch.tensor([[True, True, False]]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 2]]
