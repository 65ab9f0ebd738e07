from __future__ import annotations

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.initialize import codebook_statistics, start_at_codebooks


def test_statistics_are_those_of_sums_of_drawn_codes(codec: HeartCodec) -> None:
    mean, covariance = codebook_statistics(codec)
    source = torch.Generator().manual_seed(0)
    total = torch.zeros(200_000, codec.config.codebook_dim)
    for layer in codec.flow_matching.vq_embed.layers:
        counts = layer._codebook.cluster_size[0]
        weights = counts if counts.sum() > 0 else torch.ones_like(counts)
        total += layer._codebook.embed[0][torch.multinomial(weights, 200_000, True, generator=source)]
    spread = total.std(0).max().item()
    # Sampling error of a mean of 200,000 draws is 0.0022 standard deviations; of a covariance about as much.
    torch.testing.assert_close(mean.float(), total.mean(0), rtol=0, atol=0.01 * spread)
    torch.testing.assert_close(covariance.float(), total.T.cov(), rtol=0, atol=0.02 * spread**2)


@pytest.mark.parametrize("bridge", ["mean", "first"])
@pytest.mark.parametrize(("kind", "hidden"), [("linear", 24), ("conv1d", 24), ("query", 64)])
def test_outputs_start_with_the_codebooks_mean_and_covariance(
    codec: HeartCodec, kind: str, hidden: int, bridge: str
) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, hidden, projection_type=kind, bridge=bridge)  # type: ignore[arg-type]
    latents = torch.tanh(torch.randn(4, 60, 256))
    batch = Batch(latents, latents, torch.ones(4, 60, dtype=torch.bool))
    start_at_codebooks(projection, codec, [batch])
    with torch.no_grad():
        e = codec.flow_matching.project_in(projection.project(latents)).flatten(0, 1)
    mean, covariance = codebook_statistics(codec)
    scale = covariance.diagonal().max().item()
    torch.testing.assert_close(e.mean(0), mean.float(), rtol=0, atol=1e-3 * scale**0.5)
    torch.testing.assert_close(e.T.cov(), covariance.float(), rtol=0, atol=1e-3 * scale)


def test_it_uses_more_codes_than_a_random_last_layer(codec: HeartCodec) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 24)
    latents = torch.tanh(torch.randn(4, 200, 256))
    batch = Batch(latents, latents, torch.ones(4, 200, dtype=torch.bool))

    def used() -> int:
        with torch.no_grad():
            codes = codec.flow_matching.quantize(codec.flow_matching.project_in(projection.project(latents))).codes
        return sum(len(level.unique()) for level in codes.unbind(1))

    before = used()
    start_at_codebooks(projection, codec, [batch])
    assert used() > before
