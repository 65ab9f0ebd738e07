"""Measuring token sets against their song under noise that the search never saw, with flat memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import fmean

import torch
from torch import Tensor

from heartopt.audio import AudioSource
from heartopt.codec.model import HeartCodec
from heartopt.losses import is_silent, mel_distance, shimmer_db, stft_loss
from heartopt.optimize.settings import OptimizeSettings
from heartopt.seeding import keyed_generator

# Longer songs are measured in equal segments of at most this, averaged: memory stays flat.
SEGMENT_SECONDS = 30
METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "stft": stft_loss,
    "mel": mel_distance,
    "shimmer_db": shimmer_db,
}


def segment_lengths(num_samples: int, sample_rate: int) -> list[int]:
    """Lengths of the equal segments, longer ones first, that add up to ``num_samples``."""
    count = -(-num_samples // (SEGMENT_SECONDS * sample_rate))
    length, longer = divmod(num_samples, count)
    return [length + 1] * longer + [length] * (count - longer)


def recut(blocks: Iterator[Tensor], lengths: list[int]) -> Iterator[Tensor]:
    """Cut a stream of blocks ``[…, n]`` anew into pieces of the given lengths."""
    held: Tensor | None = None
    for length in lengths:
        while held is None or held.shape[-1] < length:
            block = next(blocks)
            held = block if held is None else torch.cat((held, block), dim=-1)
        yield held[..., :length]
        held = held[..., length:]


@torch.no_grad()
def judge(
    codec: HeartCodec,
    source: AudioSource,
    token_sets: list[Tensor],
    *,
    settings: OptimizeSettings,
    listen: Callable[[Tensor], None] | None = None,
) -> list[dict[str, float]]:
    """Mean metrics of each token set ``[K, F]`` over the judge seeds, decoded under common noise.

    Silent segments are left out, for no ratio to silence means anything; a silent song gets NaN.

    ``listen`` is given the decoded audio ``[sets, 2, n]`` of the first seed, piece by piece.
    """
    rate = codec.config.sample_rate
    lengths = segment_lengths(source.num_samples, rate)
    values: list[dict[str, list[float]]] = [{name: [] for name in METRICS} for _ in token_sets]
    for seed in range(settings.judge_seeds):
        stream = codec.detokenize_stream(
            torch.stack(token_sets),
            duration=settings.duration,
            num_steps=settings.num_steps,
            guidance_scale=settings.guidance_scale,
            generator=keyed_generator(settings.seed, "judge", seed),
        )
        done = 0
        for piece in recut(stream, lengths):
            target = source.read(done, done + piece.shape[-1]).to(piece.device).expand(2, -1)
            done += piece.shape[-1]
            for audio, row in zip(piece, values, strict=True):
                for name, metric in METRICS.items():
                    row[name].append(math.nan if is_silent(target) else float(metric(audio, target)))
            if seed == 0 and listen is not None:
                listen(piece)
    return [{name: _mean(numbers) for name, numbers in row.items()} for row in values]


def _mean(numbers: list[float]) -> float:
    """Over the segments that could be measured; NaN where none could."""
    measured = [number for number in numbers if not math.isnan(number)]
    return fmean(measured) if measured else math.nan
