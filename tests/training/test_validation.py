from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training.cache import LatentCache
from heartopt.training.crops import Song
from heartopt.training.validation import HeldOut, perplexity, validate


@pytest.fixture
def held_out(tmp_path: Path) -> HeldOut:
    latents = torch.tanh(torch.randn(40, 256, generator=torch.Generator().manual_seed(2)))
    entry = LatentCache(tmp_path, "f").store("song", "kind", latents)
    return HeldOut([Song(Path("song"), "song", "song", entry, entry)], frames=12, count=3, batch_size=2)


def test_it_is_the_same_every_time_and_leaves_no_trace(codec: HeartCodec, held_out: HeldOut) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 16)
    first = validate(projection, codec, held_out, step=0, best_flow=math.inf)
    torch.manual_seed(1)
    second = validate(projection, codec, held_out, step=5, best_flow=first.flow)
    assert first.flow == second.flow
    assert first.best and not second.best
    assert all(p.grad is None for p in projection.parameters())


def test_figures_are_over_all_crops(codec: HeartCodec, held_out: HeldOut) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 16)
    record = validate(projection, codec, held_out, step=0, best_flow=math.inf)
    frames = 3 * 6
    assert len(record.usage) == len(record.perplexity) == codec.config.num_quantizers
    assert all(1 <= p <= used <= frames for p, used in zip(record.perplexity, record.usage, strict=True))
    assert record.flow > 0


def test_a_flow_loss_that_is_not_finite_is_never_the_best(codec: HeartCodec, held_out: HeldOut) -> None:
    projection = EncoderProjection(256, codec.config.dim, 16)
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.fill_(float("nan"))
    record = validate(projection, codec, held_out, step=0, best_flow=math.inf)
    assert not record.best


def test_perplexity_counts_equally_used_codes() -> None:
    counts = torch.tensor([[5, 5, 5, 5], [9, 0, 0, 0], [0, 3, 3, 0]])
    assert perplexity(counts) == pytest.approx((4.0, 1.0, 2.0))
