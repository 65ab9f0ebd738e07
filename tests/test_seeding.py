import torch

from heartopt.seeding import keyed_generator


def draw(*key):
    return torch.rand(3, generator=keyed_generator(*key))


def test_draws_depend_on_the_key_alone():
    first = draw(0, "fit", 1)
    draw(5, "other")
    assert torch.equal(draw(0, "fit", 1), first)


def test_neighbouring_keys_share_nothing():
    draws = [draw(seed, label, index) for seed in (0, 1) for label in ("a", "b") for index in (0, 1)]
    assert len({tuple(values.tolist()) for values in draws}) == len(draws)
