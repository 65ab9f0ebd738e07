import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heartopt.audio import AudioTensor
from heartopt.losses import stft_loss
from heartopt.optimize import OptimizeSettings
from heartopt.optimize.judge import judge, recut, segment_lengths
from heartopt.seeding import keyed_generator


@given(st.integers(1, 20_000_000))
def test_segments_are_equal_and_no_longer_than_30_seconds(samples):
    lengths = segment_lengths(samples, 48_000)
    assert sum(lengths) == samples
    assert max(lengths) <= 30 * 48_000
    assert max(lengths) - min(lengths) <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_recutting_keeps_the_samples_in_order(blocks, pieces):
    total = min(sum(blocks), sum(pieces))
    pieces = [length for index, length in enumerate(pieces) if sum(pieces[: index + 1]) <= total]
    signal = torch.arange(sum(blocks))[None]
    cut = list(recut(iter(signal.split(blocks, dim=-1)), pieces))
    assert [piece.shape[-1] for piece in cut] == pieces
    assert torch.equal(torch.cat([signal[:, :0], *cut], dim=-1), signal[:, : sum(pieces)])


def test_the_numbers_are_those_of_the_decoded_audio_and_the_first_seed_is_heard(codec, audio):
    tokens = [torch.zeros(4, 13, dtype=torch.int64), torch.full((4, 13), 5)]
    settings = OptimizeSettings(duration=7.44, num_steps=2, judge_seeds=2)
    heard = []
    rows = judge(codec, AudioTensor(audio), tokens, settings=settings, listen=heard.append)
    decoded = [
        codec.detokenize(torch.stack(tokens), 7.44, 2, generator=keyed_generator(0, "judge", seed))[..., :48_000]
        for seed in range(2)
    ]
    assert torch.equal(torch.cat(heard, dim=-1), decoded[0])
    for index, row in enumerate(rows):
        assert row["stft"] == pytest.approx(sum(float(stft_loss(wav[index], audio)) for wav in decoded) / 2, rel=1e-5)
        assert set(row) == {"stft", "mel", "shimmer_db"}


def test_silence_has_no_figures(codec):
    settings = OptimizeSettings(duration=7.44, num_steps=1, judge_seeds=1)
    (row,) = judge(
        codec, AudioTensor(torch.zeros(2, 48_000)), [torch.zeros(4, 13, dtype=torch.int64)], settings=settings
    )
    assert all(math.isnan(value) for value in row.values())
