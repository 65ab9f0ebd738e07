from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from heartopt.codec import HeartCodec
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws, step_draws
from heartopt.training.model import Trained
from heartopt.training.objectives import Terms, choose, flow_losses
from heartopt.training.settings import TrainSettings


def test_flow_is_the_decoders_loss_of_the_codes_it_would_be_given(
    codec: HeartCodec, settings: Callable[..., TrainSettings], terms_of: Callable[..., Terms], batch: Batch
) -> None:
    result = terms_of(settings(), batch)
    draws = step_draws(settings(), step=3, items=range(4), total=4, batch=batch)
    # Straight through: the value is that of the codes alone, without any e.
    losses = flow_losses(codec, batch, codec.flow_matching.condition(result.codes), draws)
    torch.testing.assert_close(result.terms["flow"], losses.mean(), rtol=1e-5, atol=1e-6)


def test_frames_that_only_fill_a_crop_count_for_nothing_but_the_attention(
    codec: HeartCodec, model: Trained, batch: Batch
) -> None:
    # At time 0 the estimator sees the noise alone, so that the targets reach the loss only where they are counted.
    noise = torch.randn(batch.targets.shape, generator=torch.Generator().manual_seed(4))
    at_noise = Draws(times=torch.zeros(4), noise=noise, context=torch.zeros(batch.real.shape, dtype=torch.bool))

    def flow(frames: slice) -> torch.Tensor:
        changed = replace(batch, targets=batch.targets.clone())
        changed.targets[2, frames] += 1
        with torch.no_grad():
            condition = codec.flow_matching.condition_from(choose(model.projection, codec, changed).vectors)
            return flow_losses(codec, changed, condition, at_noise)

    assert torch.equal(flow(slice(4, None)), flow(slice(0)))
    assert not torch.equal(flow(slice(3, 4)), flow(slice(0)))
