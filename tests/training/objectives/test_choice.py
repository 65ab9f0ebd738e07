from __future__ import annotations

import torch

from heartopt.codec import HeartCodec
from heartopt.training.crops import Batch
from heartopt.training.draws import QuantizerNoise
from heartopt.training.model import Trained
from heartopt.training.objectives import choose
from heartopt.training.settings import Quantize


def test_judged_codes_are_the_nearest_ones(codec: HeartCodec, model: Trained, batch: Batch) -> None:
    choice = choose(model.projection, codec, batch)
    flow = codec.flow_matching
    expected = flow.quantize(flow.project_in(model.projection.project(batch.inputs)))
    assert torch.equal(choice.codes, expected.codes)
    torch.testing.assert_close(choice.vectors, expected.vectors)
    assert choice.entropy_lack is None
    assert torch.equal(choice.real, batch.real[:, ::2])
    torch.testing.assert_close(flow.condition_from(choice.vectors), flow.condition(choice.codes))


def test_without_noise_the_dither_is_off(codec: HeartCodec, model: Trained, batch: Batch) -> None:
    dithered = Quantize(dither=1.0)
    plain = choose(model.projection, codec, batch)
    silent = choose(model.projection, codec, batch, quantize=dithered)
    noisy = choose(model.projection, codec, batch, quantize=dithered, noise=QuantizerNoise(0, (0, 1, 2, 3)))
    assert torch.equal(silent.codes, plain.codes)
    assert not torch.equal(noisy.codes, plain.codes)
    assert torch.equal(noisy.e, plain.e)  # what is distilled is never dithered


def test_codes_are_the_same_under_autocast(codec: HeartCodec, model: Trained, batch: Batch) -> None:
    # Given the same features, half precision must not choose other codes.
    features = torch.randn(4, 4, codec.config.dim, generator=torch.Generator().manual_seed(2))
    model.projection.project = lambda latents: features  # type: ignore[method-assign]
    full = choose(model.projection, codec, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = choose(model.projection, codec, batch)
    assert torch.equal(half.codes, full.codes)
    assert torch.equal(half.e, full.e)


def test_revival_needs_counts_and_prefers_what_was_never_used(codec: HeartCodec, model: Trained, batch: Batch) -> None:
    pressed = Quantize(kind="gumbel", top_k=64, temperature=(1.0, 1.0), revival=5.0)
    usage = torch.zeros(codec.config.num_quantizers, codec.config.codebook_size)
    usage[:, ::2] = 100
    noise = QuantizerNoise(0, (0, 1, 2, 3))

    def odd(counts: torch.Tensor | None) -> float:
        choice = choose(model.projection, codec, batch, quantize=pressed, noise=noise, usage=counts)
        return float((choice.codes % 2).float().mean())

    assert odd(usage) > odd(None) + 0.2
