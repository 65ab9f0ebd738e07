import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from heartopt.codec.quantizer import code_vectors, nearest_codes
from heartopt.errors import ConfigError
from heartopt.optimize import beam
from heartopt.optimize.beam import beam_codes

SEEDS = st.integers(0, 2**31)


def case(seed, levels, size, frames, width=3):
    """Codebooks that shrink from level to level as trained ones do, vectors, and weights of both kinds."""
    generator = torch.Generator().manual_seed(seed)
    codebooks = torch.randn(levels, size, width, generator=generator) * 0.6 ** torch.arange(levels)[:, None, None]
    e = 1.5 * torch.randn(frames, width, generator=generator)
    weights = torch.rand(frames, width, generator=generator)
    return codebooks, e, [None, weights.mean(0), weights]


def error(codebooks, codes, e, metric=None):
    left = (e - code_vectors(codebooks, codes[None]).sum(1)[0]).square()
    return (left if metric is None else left * metric).sum(-1)


def exhaustive(codebooks, e, metric=None):
    """The least error of each frame over all combinations of codes."""
    every = itertools.product(*(range(codebooks.shape[1]) for _ in codebooks))
    columns = (torch.tensor(codes)[:, None].expand(-1, len(e)) for codes in every)
    return torch.stack([error(codebooks, column, e, metric) for column in columns]).min(0).values


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 9), st.integers(0, 6))
def test_a_beam_of_one_is_the_greedy_choice(seed, levels, size, frames):
    codebooks, e, _ = case(seed, levels, size, frames)
    codes = beam_codes(codebooks, e, width=1)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, nearest_codes(codebooks, e[None]).codes[0])


def test_a_beam_of_one_is_what_the_codec_does(codec):
    e = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    codes = beam_codes(codec.flow_matching.codebooks, e, width=1)
    assert torch.equal(codes, codec.flow_matching.quantize(e[None]).codes[0])


def test_a_beam_of_one_under_equal_weights_is_the_greedy_choice():
    codebooks, e, _ = case(0, 4, 9, 50)
    assert torch.equal(
        beam_codes(codebooks, e, width=1, metric=torch.full((3,), 2.0)), beam_codes(codebooks, e, width=1)
    )


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 9), st.integers(2, 12))
def test_no_frame_is_worse_than_greedy(seed, levels, size, width):
    codebooks, e, metrics = case(seed, levels, size, 20)
    for metric in metrics:
        greedy = beam_codes(codebooks, e, width=1, metric=metric)
        wide = beam_codes(codebooks, e, width=width, metric=metric)
        assert wide.shape == (levels, 20)
        assert (error(codebooks, wide, e, metric) <= error(codebooks, greedy, e, metric)).all()


def test_a_wider_beam_is_nearer_on_the_whole():
    codebooks, e, metrics = case(1, 6, 16, 300, width=8)
    for metric in metrics:
        errors = [
            float(error(codebooks, beam_codes(codebooks, e, width=w, metric=metric), e, metric).mean())
            for w in (1, 4, 16)
        ]
        assert errors[0] > 1.1 * errors[1]
        assert errors[1] > 1.02 * errors[2]


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_beam_as_wide_as_the_codebook_finds_the_best_of_two_levels(seed):
    codebooks, e, metrics = case(seed, 2, 4, 10)
    for metric in metrics:
        found = error(codebooks, beam_codes(codebooks, e, width=4, metric=metric), e, metric)
        # The beam compares distances in another order of sums than the brute force: a few float32 roundings.
        assert_close(found, exhaustive(codebooks, e, metric), rtol=1e-4, atol=1e-5)


def test_chunks_do_not_show(monkeypatch):
    codebooks, e, metrics = case(2, 3, 8, 23)
    whole = [beam_codes(codebooks, e, width=5, metric=metric) for metric in metrics]
    monkeypatch.setattr(beam, "MOST_DISTANCES", 200)
    assert all(
        torch.equal(beam_codes(codebooks, e, width=5, metric=metric), codes)
        for metric, codes in zip(metrics, whole, strict=True)
    )


def test_values_without_weight_do_not_count():
    codebooks, e, _ = case(3, 3, 8, 10)
    metric = torch.tensor([1.0, 1.0, 0.0])
    found = beam_codes(codebooks, e, width=4, metric=metric)
    e[:, 2] = 100.0
    assert torch.equal(beam_codes(codebooks, e, width=4, metric=metric), found)


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"width": 2, "metric": torch.tensor([1.0, -1.0, 1.0])}, {"width": 2, "metric": torch.ones(2)}],
)
def test_what_makes_no_sense_is_refused(wrong):
    codebooks, e, _ = case(0, 2, 4, 5)
    with pytest.raises(ConfigError, match="width" if wrong["width"] < 1 else "metric"):
        beam_codes(codebooks, e, **wrong)
