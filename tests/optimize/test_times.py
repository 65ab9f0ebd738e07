import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from heartopt.optimize import FlowSettings
from heartopt.optimize.times import TIME_MARGIN, TimeSampler, draw_noise

SEEDS = st.integers(0, 2**31)
MIDDLES = (torch.arange(10) + 0.5) / 10


def sampler(times="stratified", draws=8):
    return TimeSampler(FlowSettings(times=times, draws=draws))


def drawn(source, seed=0):
    return source.draw(torch.Generator().manual_seed(seed))


def taught(losses, draws, *, times=8):
    """An importance sampler that has met each tenth's loss ``times`` times."""
    source = sampler("importance", draws)
    for _ in range(times):
        source.learn(MIDDLES, torch.as_tensor(losses))
    return source


def share_of(losses):
    """Each tenth's share of the draws: its part of the losses, mixed with an even tenth of all draws."""
    losses = torch.as_tensor(losses, dtype=torch.float64)
    return 0.9 * losses / losses.sum() + 0.01


@given(st.integers(1, 40), SEEDS, st.sampled_from(["stratified", "importance"]))
def test_there_is_one_time_in_each_part(draws, seed, times):
    found, weights = drawn(sampler(times, draws), seed)
    assert torch.equal((found * draws).floor().long().clamp(max=draws - 1).sort().values, torch.arange(draws))
    assert torch.equal(weights, torch.ones(draws))


def test_uniform_times_are_independent():
    counts = [drawn(sampler("uniform"), seed)[0].mul(8).floor().unique().numel() for seed in range(50)]
    assert min(counts) < 8
    times = torch.cat([drawn(sampler("uniform"), seed)[0] for seed in range(500)])
    assert_close(times.mean(), torch.tensor(0.5), rtol=0, atol=4 * (12 * 4000) ** -0.5)


@given(st.integers(1, 40), SEEDS, st.sampled_from(["uniform", "stratified", "importance"]))
def test_no_time_is_at_an_end(draws, seed, times):
    found, _ = drawn(sampler(times, draws), seed)
    assert found.min() >= TIME_MARGIN
    assert found.max() <= 1 - TIME_MARGIN


def test_which_part_comes_first_is_drawn():
    firsts = {int(8 * drawn(sampler(), seed)[0][0]) for seed in range(60)}
    assert firsts == set(range(8))


@given(st.lists(st.floats(0.01, 100), min_size=10, max_size=10), SEEDS)
@settings(max_examples=50, deadline=None)
def test_importance_is_unbiased(losses, seed):
    """Over many stratified draws the mean of weight · f(t) is the integral of f, here of 1 and of 3 t²."""
    times, weights = drawn(taught(losses, 20_000), seed)
    # A tenth of share s gets s · 20000 draws, give or take one, of weight 1 / (10 s) <= 10: at most 100 / 20000 astray.
    assert_close(weights.double().mean(), torch.tensor(1.0).double(), rtol=0, atol=0.01)
    assert_close((weights * 3 * times.square()).double().mean(), torch.tensor(1.0).double(), rtol=0, atol=0.01)


@given(st.lists(st.floats(0.01, 100), min_size=10, max_size=10), SEEDS)
@settings(max_examples=50, deadline=None)
def test_importance_draws_where_losses_are_large(losses, seed):
    draws = 1000
    times, weights = drawn(taught(losses, draws), seed)
    share = share_of(losses)
    counts = torch.histc(times.double(), bins=10, min=0, max=1)
    assert_close(counts, draws * share, rtol=0, atol=2.0)
    part = (times * 10).long().clamp(max=9)
    inside = ((times * 10) % 1 - 0.5).abs() < 0.49  # float32 may put a time at a border on either side of it
    assert_close(weights[inside].double(), (1 / (10 * share))[part][inside], rtol=1e-4, atol=0)


def test_importance_knows_nothing_before_each_part_was_seen_eight_times():
    losses = [1.0] * 9 + [100.0]
    early, ready = taught(losses, 100, times=7), taught(losses, 100)
    assert torch.equal(drawn(early)[1], torch.ones(100))
    assert not torch.equal(drawn(ready)[1], torch.ones(100))
    assert torch.equal(drawn(early)[0], drawn(sampler("importance", 100))[0])


def test_importance_forgets_old_losses():
    changed = taught([1.0] * 9 + [100.0], 100)
    for _ in range(8):
        changed.learn(MIDDLES, torch.ones(10))
    times, weights = drawn(changed)
    assert_close(times, drawn(taught([1.0] * 10, 100))[0])
    assert_close(weights, torch.ones(100))


def test_a_part_counts_by_the_root_of_its_mean_square():
    mixed = sampler("importance", 1000)
    for loss in (1.0, 7.0) * 4:
        mixed.learn(MIDDLES, torch.tensor([loss] + [5.0] * 9))  # sqrt((1 + 49) / 2) is 5
    assert_close(drawn(mixed)[1], torch.ones(1000))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_does_not_spoil_what_follows(bad):
    source = taught([1.0] * 9 + [4.0], 100)
    before = drawn(source)
    source.learn(torch.tensor([0.55]), torch.tensor([bad]))
    times, weights = drawn(source)
    assert torch.isfinite(times).all() and torch.isfinite(weights).all()
    assert_close((times, weights), before)


@given(st.integers(1, 9), SEEDS)
@settings(deadline=None)
def test_noise_comes_in_antithetic_pairs(draws, seed):
    noise = draw_noise(draws, 3, 2, torch.Generator().manual_seed(seed))
    assert noise.shape == (draws, 3, 2)
    assert torch.equal(noise[1::2], -noise[0 : 2 * (draws // 2) : 2])
    assert noise[::2].flatten(1).unique(dim=0).shape[0] == -(-draws // 2)


def test_noise_is_standard_normal_and_independent_where_it_is_not_antithetic():
    noise = draw_noise(4, 500, 20, torch.Generator().manual_seed(0), antithetic=False)
    assert_close(noise.mean(), torch.tensor(0.0), rtol=0, atol=4 * 40_000**-0.5)
    assert_close(noise.std(), torch.tensor(1.0), rtol=0, atol=4 * 80_000**-0.5)
    correlation = torch.corrcoef(noise.flatten(1))
    assert_close(correlation, torch.eye(4), rtol=0, atol=5 * 10_000**-0.5)


@pytest.mark.parametrize("times", ["uniform", "stratified", "importance"])
def test_the_same_seed_draws_the_same(times):
    assert_close(drawn(sampler(times), 3), drawn(sampler(times), 3), rtol=0, atol=0)
    assert not torch.equal(drawn(sampler(times), 3)[0], drawn(sampler(times), 4)[0])
    one, two, other = (draw_noise(3, 4, 5, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
