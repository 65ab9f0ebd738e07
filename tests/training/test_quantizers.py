from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from heartopt.codec.quantizer import code_vectors, nearest_codes
from heartopt.training.draws import QuantizerNoise
from heartopt.training.quantizers import (
    RARE,
    dither_scale,
    gumbel,
    lack_of_entropy,
    level_variance,
    revival_bonus,
    straight_through,
    temperature,
)
from heartopt.training.settings import Quantize

LEVELS, SIZE, WIDTH = 3, 20, 4


@pytest.fixture
def codebooks() -> Tensor:
    """Code vectors that shrink to a third from level to level."""
    scale = 3.0 ** -torch.arange(LEVELS)[:, None, None]
    return scale * torch.randn(LEVELS, SIZE, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def e() -> Tensor:
    return torch.randn(2, 50, WIDTH, generator=torch.Generator().manual_seed(1))


def test_straight_through_has_the_value_of_the_codes_and_the_gradient_of_the_identity(
    codebooks: Tensor, e: Tensor
) -> None:
    e = e.requires_grad_()
    passed = straight_through(codebooks, e)
    expected = nearest_codes(codebooks, e)
    assert torch.equal(passed.codes, expected.codes)
    torch.testing.assert_close(passed.vectors, expected.vectors)
    slope = torch.randn(e.shape, generator=torch.Generator().manual_seed(2))
    (passed.vectors * slope).sum().backward()
    torch.testing.assert_close(e.grad, slope)


def test_commitment_is_the_mean_over_levels_of_what_each_left(codebooks: Tensor, e: Tensor) -> None:
    passed = straight_through(codebooks, e)
    residual, squares = e, []
    for level in range(LEVELS):
        residual = residual - codebooks[level][passed.codes[:, level]]
        squares.append(residual.square().mean(-1))
    torch.testing.assert_close(passed.commitment, torch.stack(squares).mean(0))


def test_the_dither_moves_codes_and_falls_to_a_tenth(codebooks: Tensor, e: Tensor) -> None:
    quantize = Quantize(dither=0.5)
    scales = [float(dither_scale(quantize, progress, codebooks)) for progress in (0.0, 0.5, 1.0)]
    deviation = math.sqrt(sum(float(book.var(0, unbiased=False).mean()) for book in codebooks))
    assert scales == pytest.approx([0.5 * deviation, 0.275 * deviation, 0.05 * deviation])

    noise = QuantizerNoise(0, (0, 1)).dither(50, WIDTH)
    plain = straight_through(codebooks, e)
    moved = [straight_through(codebooks, e, noise * scale) for scale in scales]
    changed = [int((passed.codes != plain.codes).sum()) for passed in moved]
    assert changed[0] > changed[1] > changed[2] > 0
    # The codes are those of the dithered vectors, and so is their value.
    torch.testing.assert_close(moved[0].vectors, nearest_codes(codebooks, e + noise * scales[0]).vectors)


def test_the_temperature_falls_by_equal_factors() -> None:
    quantize = Quantize(kind="gumbel", temperature=(1.0, 0.01))
    assert [temperature(quantize, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.1, 0.01])


def test_cold_gumbel_without_noise_chooses_the_nearest_codes(codebooks: Tensor, e: Tensor) -> None:
    expected = nearest_codes(codebooks, e)
    passed = gumbel(codebooks, e, top_k=8, temperature=0.01)
    assert torch.equal(passed.codes, expected.codes)
    torch.testing.assert_close(passed.vectors, expected.vectors, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(passed.commitment, straight_through(codebooks, e).commitment)


def test_gumbel_vectors_have_the_value_of_the_drawn_codes(codebooks: Tensor, e: Tensor) -> None:
    noise = QuantizerNoise(0, (0, 1)).gumbel(LEVELS, 50, 8)
    passed = gumbel(codebooks, e, top_k=8, temperature=1.0, noise=noise)
    assert (passed.codes != nearest_codes(codebooks, e).codes).any()
    torch.testing.assert_close(passed.vectors, code_vectors(codebooks, passed.codes).sum(1), rtol=1e-5, atol=1e-6)


def test_gumbel_gradient_is_that_of_the_soft_mean() -> None:
    # One level, two codes at ±1: with d = 2 v e − 2 v (−e) the soft mean is tanh(2 e / (2 var t) / t).
    codebook = torch.tensor([[[-1.0], [1.0]]])
    e = torch.tensor([[[0.3]]], requires_grad=True)
    t = 0.8
    passed = gumbel(codebook, e, top_k=2, temperature=t)
    assert passed.vectors.item() == 1.0
    passed.vectors.sum().backward()
    slope = 1 / t**2  # the codes' variance is 1: logits ± e / t, softmax at temperature t
    assert e.grad is not None
    assert e.grad.item() == pytest.approx(slope * (1 - math.tanh(0.3 * slope) ** 2), rel=1e-5)


def test_codes_are_drawn_with_the_softmaxs_probabilities() -> None:
    codebook = torch.tensor([[[-1.0], [1.0]]])
    frames, t = 20_000, 0.7
    noise = QuantizerNoise(0, (0,)).gumbel(1, frames, 2)
    passed = gumbel(codebook, torch.full((1, frames, 1), 0.2), top_k=2, temperature=t, noise=noise)
    expected = 1 / (1 + math.exp(-2 * 0.2 / t))
    share = float((passed.codes == 1).float().mean())
    assert share == pytest.approx(expected, abs=4 * (0.25 / frames) ** 0.5)


def test_one_temperature_means_the_same_at_every_scale(codebooks: Tensor, e: Tensor) -> None:
    noise = QuantizerNoise(0, (0, 1)).gumbel(LEVELS, 50, 8)
    large = gumbel(codebooks, e, top_k=8, temperature=0.5, noise=noise)
    small = gumbel(codebooks / 64, e / 64, top_k=8, temperature=0.5, noise=noise)
    assert torch.equal(large.codes, small.codes)
    torch.testing.assert_close(level_variance(codebooks / 64), level_variance(codebooks) / 64**2)


def test_revival_is_bounded_and_only_for_rare_codes() -> None:
    even = 100.0
    counts = torch.tensor([[0.0, RARE * even / 2, RARE * even, even, 5 * even]])
    counts[0, 3:] *= (5 * even - counts[0, :3].sum()) / counts[0, 3:].sum()  # so that an even share is `even`
    bonus = revival_bonus(counts, 2.0)
    torch.testing.assert_close(bonus, torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0]]))
    assert torch.equal(revival_bonus(torch.zeros(2, 3), 2.0), torch.full((2, 3), 2.0))  # nothing counted: no difference


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20), st.floats(0, 10))
def test_revival_never_leaves_its_bounds(counts: list[int], revival: float) -> None:
    bonus = revival_bonus(torch.tensor([counts], dtype=torch.float32), revival)
    assert bool((bonus >= 0).all()) and bool((bonus <= revival * (1 + 1e-6)).all())


def test_pressure_raises_a_dead_codes_share_by_known_odds() -> None:
    codebook = torch.tensor([[[-1.0], [1.0]]])
    frames = 20_000
    noise = QuantizerNoise(0, (0,)).gumbel(1, frames, 2)
    e = torch.full((1, frames, 1), -0.5)

    def share(revival: float) -> float:
        bonus = revival_bonus(torch.tensor([[1000.0, 0.0]]), revival)
        passed = gumbel(codebook, e, top_k=2, temperature=1.0, noise=noise, bonus=bonus)
        return float((passed.codes == 1).float().mean())

    tolerance = 4 * (0.25 / frames) ** 0.5
    assert share(0.0) == pytest.approx(1 / (1 + math.e), abs=tolerance)
    assert share(1.0) == pytest.approx(0.5, abs=tolerance)


def test_lack_of_entropy_in_closed_form() -> None:
    weight = torch.ones(1, 4)
    own = torch.arange(4)[:, None]

    def lack(probabilities: Tensor, codes: Tensor, counted: Tensor = weight) -> float:
        return lack_of_entropy(probabilities, codes, counted, 4).item()

    assert lack(torch.ones(4, 1), torch.zeros(4, 1, dtype=torch.int64)) == pytest.approx(1.0, abs=1e-6)
    assert lack(torch.ones(4, 1), own) == pytest.approx(0.0, abs=1e-6)
    assert lack(torch.full((4, 4), 0.25), torch.arange(4).expand(4, 4)) == pytest.approx(0.0, abs=1e-6)
    # Two codes alike of four: log 2 of log 4 is there. Frames of weight 0 add nothing.
    assert lack(torch.ones(4, 1), own, torch.tensor([[1.0, 1.0, 0.0, 0.0]])) == pytest.approx(0.5, abs=1e-6)


def test_lack_of_entropy_is_of_each_item_alone() -> None:
    codes = torch.tensor([[0], [0], [0], [1]])
    lacks = lack_of_entropy(torch.ones(4, 1), codes, torch.ones(2, 2), 4)
    torch.testing.assert_close(lacks, torch.tensor([1.0, 0.5]))


def test_its_gradient_is_finite_and_spreads_the_codes(codebooks: Tensor) -> None:
    crowded = (0.05 * torch.randn(1, 50, WIDTH, generator=torch.Generator().manual_seed(3))).requires_grad_()
    start = None
    for _ in range(30):
        passed = gumbel(codebooks, crowded, top_k=SIZE, temperature=0.3)
        assert passed.entropy_lack is not None
        start = float(passed.entropy_lack.detach()) if start is None else start
        (gradient,) = torch.autograd.grad(passed.entropy_lack.sum(), crowded)
        assert torch.isfinite(gradient).all()
        crowded = (crowded - 2 * gradient).detach().requires_grad_()
    assert start is not None and passed.entropy_lack is not None
    assert float(passed.entropy_lack.detach()) < start - 0.05
