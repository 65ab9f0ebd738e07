from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training import quantizers
from heartopt.training.cache import LatentCache
from heartopt.training.crops import Song
from heartopt.training.validation import HeldOut, perplexity, validate


def song(folder: Path, name: str, frames: int) -> Song:
    latents = torch.tanh(torch.randn(frames, 256, generator=torch.Generator().manual_seed(frames)))
    entry = LatentCache(folder, "f").store(name, "kind", latents)
    return Song(Path(name), name, name, entry, entry)


@pytest.fixture
def held_out(tmp_path: Path) -> HeldOut:
    return HeldOut([song(tmp_path, "song", 40)], frames=12, count=3, batch_size=2)


def test_it_is_the_same_every_time_and_leaves_no_trace(codec: HeartCodec, held_out: HeldOut) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 16)
    first = validate(projection, codec, held_out, step=0, epoch=0.0, best_flow=math.inf)
    torch.manual_seed(1)
    second = validate(projection, codec, held_out, step=5, epoch=0.5, best_flow=first.flow)
    assert first.flow == second.flow
    assert first.best and not second.best
    assert all(p.grad is None for p in projection.parameters())


def test_figures_are_over_all_crops(codec: HeartCodec, held_out: HeldOut) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 16)
    record = validate(projection, codec, held_out, step=0, epoch=0.0, best_flow=math.inf)
    frames = 3 * 6
    assert len(record.usage) == len(record.perplexity) == codec.config.num_quantizers
    assert all(1 <= p <= used <= frames for p, used in zip(record.perplexity, record.usage, strict=True))
    assert record.flow > 0


def test_figures_do_not_depend_on_the_batch_size(codec: HeartCodec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 16)
    songs = [song(tmp_path, "long", 40), song(tmp_path, "short", 6)]
    records = [
        validate(
            projection,
            codec,
            HeldOut(songs, frames=12, count=4, batch_size=size),
            step=0,
            epoch=0.0,
            best_flow=math.inf,
        )
        for size in (1, 3, 8)
    ]
    assert len({record.usage for record in records}) == 1
    for record in records[1:]:
        assert record.flow == pytest.approx(records[0].flow, rel=1e-5)
        assert record.commitment == pytest.approx(records[0].commitment, rel=1e-5)


def test_commitment_is_the_mean_over_levels_and_real_frames(codec: HeartCodec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, 16)
    songs = [song(tmp_path, "long", 12), song(tmp_path, "short", 6)]
    held_out = HeldOut(songs, frames=12, count=2, batch_size=1)
    record = validate(projection, codec, held_out, step=0, epoch=0.0, best_flow=math.inf)
    squares = []
    for one in songs:
        crop = one.inputs.read()[torch.arange(12) % one.frames]
        with torch.no_grad():
            residual = codec.flow_matching.project_in(projection.project(crop[None]))
            codes = codec.flow_matching.quantize(residual).codes
            for level, vectors in enumerate(codec.flow_matching.codebooks):
                residual = residual - vectors[codes[:, level]]
                squares.append(residual[0, : one.frames // 2].square().flatten())
    assert record.commitment == pytest.approx(float(torch.cat(squares).mean()), rel=1e-5)


def test_codes_are_chosen_once_a_batch(codec: HeartCodec, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch) -> None:
    projection = EncoderProjection(256, codec.config.dim, 16)
    calls = []
    nearest = quantizers.nearest_codes
    monkeypatch.setattr(quantizers, "nearest_codes", lambda books, e: (calls.append(e), nearest(books, e))[1])
    validate(projection, codec, held_out, step=0, epoch=0.0, best_flow=math.inf)
    assert len(calls) == 2  # three crops, two a batch


def test_a_flow_loss_that_is_not_finite_is_never_the_best(codec: HeartCodec, held_out: HeldOut) -> None:
    projection = EncoderProjection(256, codec.config.dim, 16)
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.fill_(float("nan"))
    record = validate(projection, codec, held_out, step=0, epoch=0.0, best_flow=math.inf)
    assert not record.best


def test_perplexity_counts_equally_used_codes() -> None:
    counts = torch.tensor([[5, 5, 5, 5], [9, 0, 0, 0], [0, 3, 3, 0]])
    assert perplexity(counts) == pytest.approx((4.0, 1.0, 2.0))
