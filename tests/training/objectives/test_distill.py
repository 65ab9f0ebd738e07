from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.training.crops import Batch
from heartopt.training.model import Trained
from heartopt.training.objectives import Terms
from heartopt.training.objectives.distill import distill_losses
from heartopt.training.settings import TrainSettings

ALL = torch.ones(1, 1, dtype=torch.bool)


def test_teacher_forcing_in_closed_form() -> None:
    # Level 1: ±2 (variance 4), level 2: ±1 (variance 1). The teacher says +2 and −1, the vector is 0.5.
    codebooks = torch.tensor([[[-2.0], [2.0]], [[-1.0], [1.0]]])
    teacher = torch.tensor([[[1], [0]]])
    e = torch.tensor([[[0.5]]])
    t = 0.7

    def entropy(toward: float) -> float:
        """−log of the softmax, where the teacher's code is ahead of the other by `toward`."""
        return math.log1p(math.exp(-toward))

    # ‖r − other‖² − ‖r − own‖² = 4 r c for codes ±c; level 2 sees 0.5 − 2, though 0.5's own second code would be +1.
    first = entropy(4 * 0.5 * 2 / (2 * 4 * t))
    second = entropy(4 * (0.5 - 2) * -1 / (2 * 1 * t))
    loss = distill_losses(codebooks, e, teacher, ALL, temperature=t)
    assert loss.tolist() == pytest.approx([(first + second) / 2], rel=1e-5)


def test_it_vanishes_at_the_sum_of_the_teachers_vectors() -> None:
    # Level by level a hundredth of the size: what later levels add cannot make another code the nearest.
    random = torch.Generator().manual_seed(0)
    codebooks = torch.randn(3, 16, 6, generator=random) * 100.0 ** -torch.arange(3)[:, None, None]
    teacher = torch.randint(16, (2, 3, 5), generator=random)
    e = codebooks[torch.arange(3)[None, :, None], teacher].sum(1)
    real = torch.ones(2, 5, dtype=torch.bool)
    assert distill_losses(codebooks, e, teacher, real, temperature=0.01).max() < 1e-4
    assert distill_losses(codebooks, e.roll(1, 1), teacher, real, temperature=0.01).min() > 1
    # In great heat all codes are alike: the teacher's is one of sixteen.
    hot = distill_losses(codebooks, e, teacher, real, temperature=1e6)
    assert hot.tolist() == pytest.approx([math.log(16)] * 2, rel=1e-4)


def test_an_items_loss_is_over_its_own_frames() -> None:
    random = torch.Generator().manual_seed(0)
    codebooks = torch.randn(2, 8, 3, generator=random)
    e, teacher = torch.randn(1, 4, 3, generator=random), torch.randint(8, (1, 2, 4), generator=random)
    cut = distill_losses(codebooks, e[:, :3], teacher[..., :3], torch.ones(1, 3, dtype=torch.bool))
    filled = distill_losses(codebooks, e, teacher, torch.tensor([[True, True, True, False]]))
    torch.testing.assert_close(filled, cut)


def test_its_gradient_is_that_of_the_plain_computation() -> None:
    random = torch.Generator().manual_seed(0)
    codebooks = torch.randn(2, 8, 3, generator=random, dtype=torch.float32)
    e = torch.randn(1, 4, 3, generator=random).requires_grad_()
    teacher = torch.randint(8, (1, 2, 4), generator=random)
    distill_losses(codebooks, e, teacher, torch.ones(1, 4, dtype=torch.bool)).sum().backward()

    plain = e.detach().clone().requires_grad_()
    losses: list[Tensor] = []
    residual: Tensor = plain
    for level in range(2):
        variance = codebooks[level].var(0, unbiased=False).mean()
        logits = -torch.cdist(residual[0], codebooks[level]).square() / (2 * variance)
        losses.append(-logits.log_softmax(-1)[torch.arange(4), teacher[0, level]].mean())
        residual = residual - codebooks[level][teacher[:, level]]
    torch.stack(losses).mean().backward()
    torch.testing.assert_close(e.grad, plain.grad, rtol=1e-4, atol=1e-6)


def test_descending_it_leads_to_the_teachers_codes(codec: HeartCodec) -> None:
    flow = codec.flow_matching
    # A vector for every frame is what a projection of any power could give.
    teacher = flow.quantize(torch.randn(1, 40, codec.config.codebook_dim, generator=torch.Generator().manual_seed(0)))
    e = torch.zeros(1, 40, codec.config.codebook_dim, requires_grad=True)
    optimizer = torch.optim.Adam([e], lr=0.05)
    losses = []
    for _ in range(150):
        loss = distill_losses(flow.codebooks, e, teacher.codes, torch.ones(1, 40, dtype=torch.bool), temperature=0.1)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    agreed = (flow.quantize(e).codes == teacher.codes).float().mean((0, 2))
    assert losses[-1] < 0.1 * losses[0]
    assert agreed.min() > 0.8


def test_it_needs_no_decoder(
    codec: HeartCodec,
    model: Trained,
    batch: Batch,
    settings: Callable[..., TrainSettings],
    terms_of: Callable[..., Terms],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(codec.flow_matching.estimator, "forward", touched)
    monkeypatch.setattr(codec.scalar_model, "decode", touched)
    terms_of(settings(objective={"distill": 1.0}), batch).terms["distill"].backward()
    assert all(p.grad is not None for p in model.projection.parameters())
