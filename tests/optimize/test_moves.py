from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from heartopt.codec.quantizer import code_vectors
from heartopt.errors import ConfigError, HeartoptError
from heartopt.optimize.moves import coordinate_moves

SEEDS = st.integers(0, 2**31)
# Sums that pass through different shapes differ by float32 roundings.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


@dataclass(frozen=True)
class Song:
    """A score that knows its optimum: how far the summed vectors, smeared over neighbours, are from targets."""

    codebooks: Tensor
    codes: Tensor
    targets: Tensor
    smear: float = 0.0

    def smeared(self, vectors):
        sides = torch.nn.functional.pad(vectors, (0, 0, 1, 1))
        return vectors + self.smear * (sides[..., :-2, :] + sides[..., 2:, :])

    def score(self, codes):
        return (self.smeared(code_vectors(self.codebooks, codes).sum(1)) - self.targets).square().sum(-1)

    def gradient(self, codes):
        # The smearing is symmetric: its transpose is itself.
        return self.smeared(2 * (self.smeared(code_vectors(self.codebooks, codes[None]).sum(1)[0]) - self.targets))

    def moves(self, *, seed=0, free=None, **rest):
        frames = self.codes.shape[1]
        told = {"top_k": 4, "rounds": 5, "pairs": True, "spacing": 3, "batch": 7, **rest}
        return coordinate_moves(
            self.codes,
            self.codebooks,
            told.pop("score", self.score),
            told.pop("gradient", self.gradient),
            free=torch.ones(frames, dtype=torch.bool) if free is None else free,
            generator=torch.Generator().manual_seed(seed),
            **told,
        )


def song(seed, *, levels=2, size=4, frames=9, width=3, smear=0.0):
    generator = torch.Generator().manual_seed(seed)
    codebooks = torch.randn(levels, size, width, generator=generator) * 0.6 ** torch.arange(levels)[:, None, None]
    codes = torch.randint(0, size, (levels, frames), generator=generator)
    return Song(codebooks, codes, 1.5 * torch.randn(frames, width, generator=generator), smear)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.booleans(), st.sampled_from([0.0, 0.5, -1.5]))
def test_the_total_never_rises_and_is_that_of_the_codes(seed, levels, size, spacing, pairs, smear):
    case = song(seed, levels=levels, size=size, smear=smear)
    result = case.moves(spacing=spacing, pairs=pairs)
    assert result.after <= result.before
    assert result.accepted <= result.tried
    assert (result.after < result.before) == (result.accepted > 0)
    assert_close(result.before, float(case.score(case.codes[None]).sum()), **ROUNDING)
    assert_close(result.after, float(case.score(result.codes[None]).sum()), **ROUNDING)
    assert torch.equal(case.codes, song(seed, levels=levels, size=size).codes)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 4))
def test_every_frame_reaches_its_optimum_where_frames_are_apart(seed, spacing):
    case = song(seed)
    result = case.moves(rounds=10, spacing=spacing)
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4))[..., None].expand(-1, -1, 9)
    assert_close(case.score(result.codes[None])[0], case.score(every).min(0).values, **ROUNDING)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_single_moves_end_where_no_single_move_helps(seed):
    case = song(seed, levels=3, size=5)
    result = case.moves(rounds=30, pairs=False, top_k=2)
    reached = case.score(result.codes[None])[0]
    for level in range(3):
        for code in range(5):
            other = result.codes.clone()
            other[level] = code
            assert (case.score(other[None])[0] >= reached - 1e-5).all()


def test_pairs_find_what_single_moves_miss():
    totals = {
        pairs: sum(song(seed, levels=4, size=8).moves(rounds=20, pairs=pairs).after for seed in range(10))
        for pairs in (False, True)
    }
    assert totals[True] < 0.95 * totals[False]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_only_free_frames_change(seed):
    case = song(seed, levels=3)
    free = torch.rand(9, generator=torch.Generator().manual_seed(seed)) < 0.5
    result = case.moves(free=free)
    assert torch.equal(result.codes[:, ~free], case.codes[:, ~free])
    assert (result.after < result.before) == bool((result.codes != case.codes).any())


def test_nothing_is_free():
    case = song(0)
    result = case.moves(free=torch.zeros(9, dtype=torch.bool))
    assert torch.equal(result.codes, case.codes)
    assert (result.tried, result.accepted) == (0, 0)


@pytest.mark.parametrize("curvature", [None, 0.0, 0.5])
def test_codes_stay_where_every_move_is_worse(curvature):
    case = song(1, levels=3, size=8)
    result = case.moves(score=lambda codes: (codes != case.codes).sum(1).float(), curvature=curvature)
    assert torch.equal(result.codes, case.codes)
    assert result.tried > 0
    assert (result.accepted, result.before, result.after) == (0, 0.0, 0.0)


def test_where_nothing_helped_the_next_best_are_tried():
    codebooks = song(1, size=8).codebooks
    # Every other code lies down this slope.
    steepest = codebooks.sum(-1).argmax(1)[:, None].expand(2, 9)
    seen = []

    def score(codes):
        seen.extend(tuple(column.tolist()) for column in codes[..., 0])
        return (codes != steepest).sum(1).float()

    told = {"gradient": lambda codes: torch.ones(9, 3), "curvature": 0.0, "pairs": False, "spacing": 1}
    result = Song(codebooks, steepest, torch.zeros(9, 3)).moves(score=score, top_k=3, rounds=9, **told)
    assert result.tried == 9 * 14
    assert len(seen) == len(set(seen)) == 1 + 14


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 40), st.sampled_from([0.0, 0.5]))
def test_the_batch_size_does_not_show(seed, batch, smear):
    case = song(seed, levels=3, smear=smear)
    one, other = case.moves(batch=1), case.moves(batch=batch)
    assert torch.equal(one.codes, other.codes)
    assert (one.tried, one.accepted, one.before, one.after) == (other.tried, other.accepted, other.before, other.after)


def test_the_same_seed_gives_the_same_codes():
    case = song(3, levels=4, size=8, frames=40, smear=0.5)
    one, two = case.moves(seed=1), case.moves(seed=1)
    assert torch.equal(one.codes, two.codes)
    assert (one.tried, one.accepted, one.after) == (two.tried, two.accepted, two.after)


def test_no_call_is_larger_than_the_batch_and_moves_scored_together_are_apart():
    case = song(4, frames=20)
    calls = []

    def score(codes):
        calls.append(codes)
        return case.score(codes)

    case.moves(score=score, rounds=1, batch=6, spacing=4)
    assert max(map(len, calls)) == 6
    # The start is scored first, and the combinations last.
    tried = torch.cat(calls)[1 : -len(calls[-1])]
    for candidate in tried:
        moved = (candidate != case.codes).any(0).nonzero()[:, 0]
        if torch.equal(candidate, tried[0]):
            assert len(moved) > 1
        assert (moved.diff() >= 4).all()


def test_moves_that_disturb_each_other_are_not_all_made():
    # Of two neighbours one may move, not both: each alone is judged good.
    case = song(5, levels=1, size=2, frames=2)
    start = torch.zeros(1, 2, dtype=torch.int64)
    gains = torch.tensor([1.0, 2.0])

    def score(codes):
        moved = codes[:, 0] == 1
        return 10 - gains * moved + 5 * moved.all(1, keepdim=True)

    down = (case.codebooks[0, 0] - case.codebooks[0, 1]).expand(2, -1)
    result = Song(case.codebooks, start, case.targets).moves(
        score=score, gradient=lambda codes: down, curvature=0.0, pairs=False, spacing=2, rounds=1
    )
    assert result.codes.tolist() == [[0, 1]]
    assert (result.tried, result.accepted, result.before, result.after) == (2, 1, 20.0, 18.0)


def test_a_candidate_without_a_score_is_never_kept():
    case = song(6, frames=30)

    def score(codes):
        return torch.where(codes[:, 0] == 2, torch.nan, case.score(codes))

    start = Song(case.codebooks, case.codes.masked_fill(case.codes == 2, 1), case.targets)
    result = start.moves(score=score)
    assert result.after < result.before
    assert not (result.codes[0] == 2).any()


def test_a_gradient_that_is_not_finite_is_refused():
    with pytest.raises(HeartoptError, match="not finite"):
        song(0).moves(gradient=lambda codes: torch.full((9, 3), torch.nan))


def test_no_rounds_change_nothing():
    result = song(0).moves(rounds=0)
    assert (result.tried, result.after) == (0, result.before)


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"rounds": -1}, {"spacing": 0}, {"batch": 0}, {"curvature": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        song(0).moves(**wrong)
