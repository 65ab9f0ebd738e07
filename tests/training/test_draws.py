from __future__ import annotations

import torch

from heartopt.seeding import keyed_generator
from heartopt.training.draws import CONTEXT_SHARE, fixed_draws, step_draws, stratified_times


def whole(batch: int, frames: int) -> torch.Tensor:
    """A batch without filling."""
    return torch.ones(batch, frames, dtype=torch.bool)


def test_the_same_key_gives_the_same_draws_and_another_key_others() -> None:
    def draws(seed: int, step: int) -> torch.Tensor:
        return step_draws(seed=seed, step=step, real=whole(3, 8), channels=4).noise

    assert torch.equal(draws(1, 5), draws(1, 5))
    assert not torch.equal(draws(1, 5), draws(1, 6))
    assert not torch.equal(draws(1, 5), draws(2, 5))


def test_an_items_noise_does_not_depend_on_the_batch_size() -> None:
    small = [step_draws(seed=0, step=step, real=whole(2, 8), channels=4) for step in range(2)]
    large = step_draws(seed=0, step=0, real=whole(4, 8), channels=4)
    assert torch.equal(torch.cat([draws.noise for draws in small]), large.noise)
    assert torch.equal(torch.cat([draws.context for draws in small]), large.context)


def test_each_part_of_time_is_drawn_once() -> None:
    times = stratified_times(10, keyed_generator("times"))
    assert sorted((times * 10).long().tolist()) == list(range(10))


def test_context_is_an_even_prefix_of_at_most_half_on_four_items_of_ten() -> None:
    context = step_draws(seed=0, step=0, real=whole(2000, 40), channels=1).context
    lengths = context.sum(1)
    assert torch.equal(context, torch.arange(40) < lengths[:, None])
    assert (lengths % 2 == 0).all()
    assert lengths.max() == 20
    # Four standard deviations of a share estimated from 2000 draws.
    assert abs((lengths > 0).float().mean() - CONTEXT_SHARE) < 4 * (0.4 * 0.6 / 2000) ** 0.5


def test_context_leaves_half_of_a_short_songs_own_frames_to_learn_from() -> None:
    real = torch.arange(40) < torch.tensor([12, 2]).repeat(500)[:, None]
    lengths = step_draws(seed=0, step=0, real=real, channels=1).context.sum(1)
    assert lengths[::2].max() == 6
    assert lengths[1::2].max() == 0  # one code frame only: nothing can be given


def test_noise_is_standard_normal() -> None:
    noise = step_draws(seed=3, step=9, real=whole(4, 100), channels=256).noise
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_fixed_draws_show_every_item_every_part_of_time() -> None:
    first, second = (list(fixed_draws(["x", "y", "z"], frames=6, channels=2, times=4)) for _ in range(2))
    parts = torch.stack([(draws.times * 4).long() for draws in first])
    assert torch.equal(parts, torch.arange(4)[:, None].expand(4, 3))
    assert all(torch.equal(a.noise, b.noise) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].noise, first[1].noise)
    assert not any(draws.context.any() for draws in first)


def test_fixed_draws_of_an_item_do_not_depend_on_its_neighbours() -> None:
    together = list(fixed_draws(["x", "y"], frames=6, channels=2, times=4))
    alone = list(fixed_draws(["y"], frames=6, channels=2, times=4))
    for both, one in zip(together, alone, strict=True):
        assert torch.equal(both.noise[1:], one.noise)
        assert torch.equal(both.times[1:], one.times)
        assert not torch.equal(both.noise[0], both.noise[1])
