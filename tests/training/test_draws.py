from __future__ import annotations

import torch

from heartopt.seeding import keyed_generator
from heartopt.training.draws import CONTEXT_SHARE, fixed_draws, step_draws, stratified_times


def test_the_same_key_gives_the_same_draws_and_another_key_others() -> None:
    def draws(seed: int, step: int) -> torch.Tensor:
        return step_draws(seed=seed, step=step, batch=3, frames=8, channels=4).noise

    assert torch.equal(draws(1, 5), draws(1, 5))
    assert not torch.equal(draws(1, 5), draws(1, 6))
    assert not torch.equal(draws(1, 5), draws(2, 5))


def test_an_items_noise_does_not_depend_on_the_batch_size() -> None:
    small = [step_draws(seed=0, step=step, batch=2, frames=8, channels=4) for step in range(2)]
    large = step_draws(seed=0, step=0, batch=4, frames=8, channels=4)
    assert torch.equal(torch.cat([draws.noise for draws in small]), large.noise)
    assert torch.equal(torch.cat([draws.context for draws in small]), large.context)


def test_each_part_of_time_is_drawn_once() -> None:
    times = stratified_times(10, keyed_generator("times"))
    assert sorted((times * 10).long().tolist()) == list(range(10))


def test_context_is_an_even_prefix_of_at_most_half_on_four_items_of_ten() -> None:
    context = step_draws(seed=0, step=0, batch=2000, frames=40, channels=1).context
    lengths = context.sum(1)
    assert torch.equal(context, torch.arange(40) < lengths[:, None])
    assert (lengths % 2 == 0).all()
    assert lengths.max() == 20
    # Four standard deviations of a share estimated from 2000 draws.
    assert abs((lengths > 0).float().mean() - CONTEXT_SHARE) < 4 * (0.4 * 0.6 / 2000) ** 0.5


def test_noise_is_standard_normal() -> None:
    noise = step_draws(seed=3, step=9, batch=4, frames=100, channels=256).noise
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_fixed_draws_show_every_item_every_part_of_time() -> None:
    targets = torch.zeros(3, 6, 2)
    first, second = list(fixed_draws("x", targets, times=4)), list(fixed_draws("x", targets, times=4))
    parts = torch.stack([(draws.times * 4).long() for draws in first])
    assert torch.equal(parts.sort(0).values, torch.arange(4)[:, None].expand(4, 3))
    assert all(torch.equal(a.noise, b.noise) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].noise, first[1].noise)
    assert not any(draws.context.any() for draws in first)
