from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from heartopt.seeding import keyed_generator
from heartopt.training.crops import Batch
from heartopt.training.draws import CONTEXT_SHARE, Draws, QuantizerNoise, fixed_draws, step_draws, stratified_times
from heartopt.training.settings import TrainSettings


def settings(**changed: Any) -> TrainSettings:
    arguments: dict[str, Any] = {
        "projection_type": "linear",
        "hidden_dim": 16,
        "latent_dim": 256,
        "batch_size": 2,
        "frames": 8,
        "steps": 10,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "grad_clip": 0.5,
        "weight_decay": 0.0,
        "commitment_weight": 0.25,
        "init": "random",
        "seed": 0,
        "max_seconds_per_song": None,
    }
    return TrainSettings(**(arguments | changed))


def whole(batch: int, frames: int) -> Tensor:
    """A batch without filling."""
    return torch.ones(batch, frames, dtype=torch.bool)


def drawn(
    real: Tensor,
    channels: int = 4,
    *,
    step: int = 0,
    items: Sequence[int] | None = None,
    total: int | None = None,
    **changed: Any,
) -> Draws:
    """The draws of `items` of `total`, which are by default the whole step."""
    latents = torch.zeros(*real.shape, channels)
    size = len(real)
    return step_draws(
        settings(**changed),
        step=step,
        items=range(size) if items is None else items,
        total=total or size,
        batch=Batch(latents, latents, real),
    )


def taken(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def test_the_same_key_gives_the_same_draws_and_another_key_others() -> None:
    def noise(seed: int, step: int) -> Tensor:
        return taken(drawn(whole(3, 8), step=step, seed=seed).noise)

    assert torch.equal(noise(1, 5), noise(1, 5))
    assert not torch.equal(noise(1, 5), noise(1, 6))
    assert not torch.equal(noise(1, 5), noise(2, 5))


def test_an_items_noise_does_not_depend_on_the_batch_size() -> None:
    small = [drawn(whole(2, 8), step=step) for step in range(2)]
    large = drawn(whole(4, 8))
    assert torch.equal(torch.cat([taken(draws.noise) for draws in small]), taken(large.noise))
    assert torch.equal(torch.cat([taken(draws.context) for draws in small]), taken(large.context))


@pytest.mark.parametrize("shards", [[[0, 1], [2, 3]], [[0, 2], [1, 3]], [[3], [2], [1], [0]]])
def test_shards_see_exactly_the_draws_of_the_whole(shards: list[list[int]]) -> None:
    mixture = {"flow": 1.0, "ode": 1.0}
    real = torch.arange(8) < torch.tensor([8, 8, 4, 6])[:, None]
    large = drawn(real, step=7, objective=mixture)
    for items in shards:
        small = drawn(real[items], step=7, items=items, total=4, objective=mixture)
        for name in ("times", "noise", "context", "ode_noise"):
            assert torch.equal(getattr(small, name), getattr(large, name)[items]), name
        assert small.quantizer is not None and large.quantizer is not None
        assert torch.equal(small.quantizer.dither(3, 2), large.quantizer.dither(3, 2)[items])
        assert torch.equal(small.quantizer.gumbel(2, 3, 4), large.quantizer.gumbel(2, 3, 4)[items])


def test_times_are_spread_over_all_shards_together() -> None:
    parts = [drawn(whole(2, 8), items=items, total=10) for items in torch.arange(10).view(5, 2).tolist()]
    times = torch.cat([taken(draws.times) for draws in parts])
    assert sorted((times * 10).long().tolist()) == list(range(10))


def test_only_what_an_objective_needs_is_drawn() -> None:
    def kinds(**objective: float) -> set[str]:
        draws = drawn(whole(2, 8), objective=objective)
        return {name for name in ("times", "noise", "context", "ode_noise") if getattr(draws, name) is not None}

    assert kinds(flow=1.0) == {"times", "noise", "context"}
    assert kinds(ode=1.0) == {"ode_noise"}
    assert kinds(bypass=1.0, distill=1.0) == set()


def test_the_paths_of_flow_and_ode_begin_apart() -> None:
    draws = drawn(whole(2, 8), objective={"flow": 1.0, "ode": 1.0})
    assert not torch.equal(taken(draws.noise), taken(draws.ode_noise))


def test_each_part_of_time_is_drawn_once() -> None:
    times = stratified_times(10, keyed_generator("times"))
    assert sorted((times * 10).long().tolist()) == list(range(10))


def test_context_is_an_even_prefix_of_at_most_half_on_four_items_of_ten() -> None:
    context = taken(drawn(whole(2000, 40), 1).context)
    lengths = context.sum(1)
    assert torch.equal(context, torch.arange(40) < lengths[:, None])
    assert (lengths % 2 == 0).all()
    assert lengths.max() == 20
    # Four standard deviations of a share estimated from 2000 draws.
    assert abs((lengths > 0).float().mean() - CONTEXT_SHARE) < 4 * (0.4 * 0.6 / 2000) ** 0.5


def test_context_leaves_half_of_a_short_songs_own_frames_to_learn_from() -> None:
    real = torch.arange(40) < torch.tensor([12, 2]).repeat(500)[:, None]
    lengths = taken(drawn(real, 1).context).sum(1)
    assert lengths[::2].max() == 6
    assert lengths[1::2].max() == 0  # one code frame only: nothing can be given


def test_noise_is_standard_normal() -> None:
    draws = drawn(whole(4, 100), 256, step=9, seed=3, objective={"flow": 1.0, "ode": 1.0})
    dither = QuantizerNoise(3, (1, 2, 3, 4)).dither(100, 256)
    for noise in (taken(draws.noise), taken(draws.ode_noise), dither):
        assert abs(noise.mean()) < 0.02
        assert abs(noise.std() - 1) < 0.02


def test_gumbel_noise_has_its_mean_and_deviation() -> None:
    noise = QuantizerNoise(0, (5, 6)).gumbel(8, 50, 64)
    assert noise.shape == (2, 8, 50, 64)
    assert torch.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772) < 0.02  # Euler's constant
    assert abs(noise.std() - torch.pi / 6**0.5) < 0.02


def test_moving_keeps_every_draw() -> None:
    draws = drawn(whole(2, 8), objective={"flow": 1.0, "ode": 1.0})
    moved = draws.to("meta")
    assert moved.quantizer == draws.quantizer
    for name in ("times", "noise", "context", "ode_noise"):
        assert getattr(moved, name).device.type == "meta"
    assert Draws().to("cpu") == Draws()


def test_fixed_draws_show_every_item_every_part_of_time() -> None:
    first, second = (list(fixed_draws(["x", "y", "z"], frames=6, channels=2, times=4)) for _ in range(2))
    parts = torch.stack([(taken(draws.times) * 4).long() for draws in first])
    assert torch.equal(parts, torch.arange(4)[:, None].expand(4, 3))
    assert all(torch.equal(taken(a.noise), taken(b.noise)) for a, b in zip(first, second, strict=True))
    assert not torch.equal(taken(first[0].noise), taken(first[1].noise))
    assert not any(taken(draws.context).any() for draws in first)


def test_fixed_draws_of_an_item_do_not_depend_on_its_neighbours() -> None:
    together = list(fixed_draws(["x", "y"], frames=6, channels=2, times=4))
    alone = list(fixed_draws(["y"], frames=6, channels=2, times=4))
    for both, one in zip(together, alone, strict=True):
        assert torch.equal(taken(both.noise)[1:], taken(one.noise))
        assert torch.equal(taken(both.times)[1:], taken(one.times))
        assert not torch.equal(taken(both.noise)[0], taken(both.noise)[1])
