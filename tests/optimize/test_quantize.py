import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from heartopt.codec.quantizer import Quantized, nearest_codes
from heartopt.optimize import OptimizeSettings
from heartopt.optimize.quantize import first_vectors, pass_through, soft_codes


@dataclass(frozen=True)
class SmallFlow:
    """The part of `FlowMatching` that a quantizer needs, with few enough codes to try all of them."""

    codebooks: Tensor

    def quantize(self, e: Tensor) -> Quantized:
        return nearest_codes(self.codebooks, e)


@pytest.fixture
def small() -> SmallFlow:
    codebooks = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    return SmallFlow(codebooks * torch.tensor([1.0, 0.5])[:, None, None])


@pytest.fixture
def e(codec) -> Tensor:
    return torch.randn(7, codec.config.codebook_dim, generator=torch.Generator().manual_seed(1))


def passed(flow, e, *, seed=0, progress=0.5, **told):
    generator = torch.Generator().manual_seed(seed)
    return pass_through(flow, e, progress=progress, settings=OptimizeSettings(**told), generator=generator)


@pytest.mark.parametrize("quantizer", ["straight-through", "gumbel", "soft", "none"])
def test_what_is_given_beside_it_is_the_nearest_without_gradient(codec, e, quantizer):
    given, nearest = passed(codec.flow_matching, e.requires_grad_(True), quantizer=quantizer)
    assert torch.equal(nearest, codec.flow_matching.quantize(e[None]).vectors[0])
    assert not nearest.requires_grad
    assert given.requires_grad
    assert given.shape == e.shape


def test_straight_through_is_the_nearest_forward_and_the_identity_backward(codec, e):
    given, nearest = passed(codec.flow_matching, e.requires_grad_(True), quantizer="straight-through")
    assert_close(given, nearest)
    assert (given - e).abs().max() > 1e-3
    upstream = torch.randn(e.shape, generator=torch.Generator().manual_seed(2))
    given.backward(upstream)
    assert torch.equal(e.grad, upstream)


def test_none_passes_the_vectors_on(codec, e):
    given, _ = passed(codec.flow_matching, e.requires_grad_(True), quantizer="none")
    assert torch.equal(given, e)
    (gradient,) = torch.autograd.grad(given, e, torch.full_like(e, 3.0))
    assert torch.equal(gradient, torch.full_like(e, 3.0))


def test_soft_hardens_to_the_nearest_codes_as_the_temperature_falls(codec, e):
    errors = []
    for temperature in (1.0, 0.03, 1e-7):
        given, nearest = passed(codec.flow_matching, e, quantizer="soft", temperature=(temperature, temperature))
        errors.append(float((given - nearest).norm()))
    assert errors[0] > 1
    assert errors[0] > errors[1] > 1e-3 > 100 * errors[2]
    assert_close(given, nearest)


def test_soft_at_a_high_temperature_is_the_mean_of_the_nearest(small):
    # One level, all of its codes: their mean. One level, two of them: the mean of the two nearest.
    e = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    level = small.codebooks[:1]
    assert_close(soft_codes(level, e, top_k=100, temperature=1e6), level[0].mean(0).expand(5, -1), rtol=1e-3, atol=1e-4)
    two = level[0][torch.cdist(e, level[0]).argsort()[:, :2]].mean(1)
    assert_close(soft_codes(level, e, top_k=2, temperature=1e6), two, rtol=1e-3, atol=1e-4)


def test_soft_is_differentiable(small):
    e = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    step = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))

    def value(e):
        return (weight * soft_codes(small.codebooks, e, top_k=6, temperature=0.5)).sum(1)

    (gradient,) = torch.autograd.grad(value(e).sum(), e)
    with torch.no_grad():
        measured = (value(e + 1e-2 * step) - value(e - 1e-2 * step)) / 2e-2
    # Central differences of step 0.01 in float32: errors of about 1e-4.
    assert_close((gradient * step).sum(1).detach(), measured, rtol=1e-2, atol=1e-3)
    assert measured.abs().max() > 0.1


def test_the_temperature_falls_by_equal_factors(codec, e):
    told = {"quantizer": "soft", "temperature": (1.0, 0.01), "top_k": 16}
    for progress, temperature in ((0.0, 1.0), (0.5, 0.1), (1.0, 0.01)):
        given, _ = passed(codec.flow_matching, e, progress=progress, **told)
        assert_close(given, soft_codes(codec.flow_matching.codebooks, e, top_k=16, temperature=temperature))


def test_gumbel_gives_sums_of_codes_and_a_gradient(small):
    e = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    given, nearest = passed(small, e, quantizer="gumbel", temperature=(1.0, 1.0))
    pairs = itertools.product(small.codebooks[0], small.codebooks[1])
    sums = torch.stack([one + two for one, two in pairs])
    # A float32 sum of two vectors, passed straight through: a few roundings.
    assert (given.detach()[:, None] - sums).norm(dim=-1).min(1).values.max() < 1e-5
    assert (given - nearest).abs().max() > 0.1, "never a code but the nearest"
    given.square().sum().backward()
    assert torch.isfinite(e.grad).all()
    assert (e.grad.abs().sum(1) > 0).float().mean() > 0.9


def test_gumbel_keeps_to_the_nearest_few(small):
    e = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    allowed = torch.cdist(e, small.codebooks[0]).argsort()[:, :2]
    sums = (small.codebooks[0][allowed][:, :, None] + small.codebooks[1]).flatten(1, 2)
    for seed in range(5):
        given, _ = passed(small, e, seed=seed, quantizer="gumbel", temperature=(5.0, 5.0), top_k=2)
        assert (given[:, None] - sums).norm(dim=-1).min(1).values.max() < 1e-5


def test_gumbel_is_deterministic_for_a_seed(codec, e):
    told = {"quantizer": "gumbel", "temperature": (1.0, 1.0)}
    one, two, other = (passed(codec.flow_matching, e, seed=seed, **told)[0] for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_gumbel_ends_at_the_nearest(codec, e):
    cold = {"quantizer": "gumbel", "temperature": (1.0, 1e-7)}
    given, nearest = passed(codec.flow_matching, e, progress=1.0, **cold)
    assert_close(given, nearest)


def first(codec, start, *, seed=0):
    tokens = torch.randint(0, 128, (4, 500), generator=torch.Generator().manual_seed(5))
    settings, generator = OptimizeSettings(start=start), torch.Generator().manual_seed(seed)
    return tokens, first_vectors(codec.flow_matching, tokens, settings, generator)


def test_the_search_begins_at_the_tokens_or_at_zero(codec):
    tokens, vectors = first(codec, "tokens")
    assert torch.equal(vectors, codec.flow_matching.code_sum(tokens[None])[0])
    assert torch.equal(first(codec, "zero")[1], torch.zeros(500, 8))


def test_a_random_beginning_is_as_wide_as_sums_of_codes(codec):
    tokens, vectors = first(codec, "random")
    assert torch.equal(vectors, first(codec, "random")[1])
    assert not torch.equal(vectors, first(codec, "random", seed=1)[1])
    sums = codec.flow_matching.code_sum(tokens[None])[0]
    spread = (sums - sums.mean(0)).square().mean().sqrt()
    assert_close(vectors.std(), spread, rtol=0.1, atol=0)
    assert_close(vectors.mean(), torch.tensor(0.0), rtol=0, atol=0.1 * float(spread))
