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
    """Codebooks that shrink from level to level as trained ones do, and vectors."""
    generator = torch.Generator().manual_seed(seed)
    codebooks = torch.randn(levels, size, width, generator=generator) * 0.6 ** torch.arange(levels)[:, None, None]
    return codebooks, 1.5 * torch.randn(frames, width, generator=generator)


def error(codebooks, codes, e):
    return (e - code_vectors(codebooks, codes[None]).sum(1)[0]).square().sum(-1)


def exhaustive(codebooks, e):
    """The least error of each frame over all combinations of codes."""
    every = itertools.product(*(range(codebooks.shape[1]) for _ in codebooks))
    columns = (torch.tensor(codes)[:, None].expand(-1, len(e)) for codes in every)
    return torch.stack([error(codebooks, column, e) for column in columns]).min(0).values


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 9), st.integers(0, 6))
def test_a_beam_of_one_is_the_greedy_choice(seed, levels, size, frames):
    codebooks, e = case(seed, levels, size, frames)
    codes = beam_codes(codebooks, e, width=1)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, nearest_codes(codebooks, e[None]).codes[0])


def test_a_beam_of_one_is_what_the_codec_does(codec):
    e = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    codes = beam_codes(codec.flow_matching.codebooks, e, width=1)
    assert torch.equal(codes, codec.flow_matching.quantize(e[None]).codes[0])


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 9), st.integers(2, 12))
def test_no_frame_is_worse_than_greedy(seed, levels, size, width):
    codebooks, e = case(seed, levels, size, 20)
    wide = beam_codes(codebooks, e, width=width)
    assert wide.shape == (levels, 20)
    assert (error(codebooks, wide, e) <= error(codebooks, beam_codes(codebooks, e, width=1), e)).all()


def test_a_wider_beam_is_nearer_on_the_whole():
    codebooks, e = case(1, 6, 16, 300, width=8)
    errors = [float(error(codebooks, beam_codes(codebooks, e, width=w), e).mean()) for w in (1, 4, 16)]
    assert errors[0] > 1.1 * errors[1]
    assert errors[1] > 1.02 * errors[2]


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_beam_as_wide_as_the_codebook_finds_the_best_of_two_levels(seed):
    codebooks, e = case(seed, 2, 4, 10)
    found = error(codebooks, beam_codes(codebooks, e, width=4), e)
    # The beam compares distances in another order of sums than the brute force: a few float32 roundings.
    assert_close(found, exhaustive(codebooks, e), rtol=1e-4, atol=1e-5)


def test_chunks_do_not_show(monkeypatch):
    codebooks, e = case(2, 3, 8, 23)
    whole = beam_codes(codebooks, e, width=5)
    monkeypatch.setattr(beam, "MOST_DISTANCES", 200)
    assert torch.equal(beam_codes(codebooks, e, width=5), whole)


def test_a_beam_of_nothing_is_refused():
    codebooks, e = case(0, 2, 4, 5)
    with pytest.raises(ConfigError, match="width"):
        beam_codes(codebooks, e, width=0)
